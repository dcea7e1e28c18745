"""C99: a program that compiles without a warning and answers every test digit as PyTorch does."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from torch import nn

from digitcli.errors import EnvironmentFault, QualityError, UsageError
from digitcli.export import c_program
from digitcli.export.export import export
from tests.support.exports import model_of

with_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")


@with_compiler
def test_a_program_answers_all_test_digits_alike() -> None:
    result = export(model_of("softmax"), "c")
    assert result.parity is not None and result.parity.n == 10_000
    assert result.parity.different_answers == 0 and result.parity.largest_difference < 1e-4
    assert result.facts["ram_bytes"] == 4 * 784 and result.rounding is None
    if "flash_bytes" in result.facts:
        assert 4 * 7_850 < int(result.facts["flash_bytes"]) < 4 * 7_850 + 2_000
    header = Path("softmax-c/digit_model.h").read_text()
    assert "int digit_predict(const float pixels[DIGIT_PIXELS], float logits[DIGIT_CLASSES]);" in header


@with_compiler
@pytest.mark.usefixtures("on_few_digits")
@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("architecture", ["sigmoid_mlp", "fast", "lenet1", "micro", "tiny"])
def test_every_kind_of_layer_is_computed(architecture: str, dtype: str) -> None:
    result = export(model_of(architecture), "c", dtype=dtype)  # type: ignore[arg-type]
    assert result.parity is not None and result.parity.largest_difference < 1e-4
    source = Path(result.path, "digit_model.c").read_text()
    assert not re.search(r"malloc|#include <(?!math|stdint)", source)
    assert "convolution 5x5" in source or architecture not in ("lenet1", "tiny")
    if dtype == "int8":
        assert (
            result.rounding is not None
            and result.rounding.largest_difference > 10 * result.parity.largest_difference
        )
        assert "typedef int8_t weight;" in source


def padded() -> nn.Module:
    """Layers and settings that no other network here has."""
    return nn.Sequential(
        nn.BatchNorm2d(1),
        nn.Conv2d(1, 4, (3, 5), stride=(2, 1), padding=(1, 2), groups=1),
        nn.LeakyReLU(0.3),
        nn.BatchNorm2d(4),
        nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
        nn.Conv2d(4, 6, 3, padding=2, groups=2),
        nn.Tanh(),
        nn.AvgPool2d((2, 3), stride=(1, 2)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 10),
        nn.Sigmoid(),
    )


@with_compiler
@pytest.mark.usefixtures("on_few_digits")
def test_padding_strides_and_groups_are_computed(plugins: object) -> None:
    plugins(padded=f"{__name__}:padded")  # type: ignore[operator]
    result = export(model_of("padded"), "c")
    assert result.parity is not None and result.parity.largest_difference < 1e-5


def test_without_a_compiler_only_an_unchecked_program_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_program.shutil, "which", lambda name: None)
    model = model_of("lenet1")
    with pytest.raises(EnvironmentFault, match="no C compiler") as failure:
        export(model, "c")
    assert "--no-verify" in failure.value.remedy and not Path("lenet1-c").exists()
    result = export(model, "c", verify=False)
    assert result.facts == {"ram_bytes": 12_352, "weights_bytes": 4 * 3_246}
    assert "not checked (--no-verify)" in Path("lenet1-c/digit_model.h").read_text()


@with_compiler
@pytest.mark.usefixtures("on_few_digits")
def test_a_program_with_a_warning_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        c_program, "OPTIONS", (*c_program.OPTIONS, "-Wfloat-conversion", "-Wconversion", "-DDIGIT_MODEL_H")
    )
    with pytest.raises(QualityError, match="cannot be compiled"):
        export(model_of("softmax"), "c")
    assert not Path("softmax-c").exists()


def test_a_model_of_lines_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot hold reader"):
        export("reader", "c", verify=False)
