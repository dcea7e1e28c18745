from __future__ import annotations

from collections.abc import Iterator

import pytest

from digitcli.adaptation import adapt, adaptation
from digitcli.training import start_model


@pytest.fixture(autouse=True, scope="module")
def few_lines_and_steps() -> Iterator[None]:
    """Compose few lines, and train for one step an epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapt, "COMPOSED_LINES", 48)
        patch.setattr(adapt, "COMPOSED_AT_ONCE", 24)
        patch.setattr(start_model, "TEST_LINES", 24)
        patch.setattr(adaptation, "LEAST_STEPS", 1)
        patch.setattr(adaptation, "MOST_STEPS", 1)
        yield
