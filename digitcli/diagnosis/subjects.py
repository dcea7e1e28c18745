"""Tell what a name or path given to `digitcli doctor` is. Loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from digitcli.comparison.saved import SUFFIX as COMPARISON_SUFFIX
from digitcli.comparison.specification import CHECKPOINT_SUFFIX
from digitcli.data.files import PICTURE_SUFFIXES, is_picture
from digitcli.data.loading import find_dataset
from digitcli.errors import DigitcliError, UsageError
from digitcli.inference.checkpoint import MEMBER_FOLDER, MODEL_FILE, RESUME_FILE
from digitcli.inference.model_resolution import shipped_models

Kind = Literal["run", "comparison", "model", "picture", "data"]


def kind_of(subject: str) -> Kind:
    """Return what a name or path is.

    Raises:
        UsageError: it is none of these.
    """
    path = Path(subject)
    if (path / RESUME_FILE).exists():
        return "run"
    if path.suffix.lower() == COMPARISON_SUFFIX:
        return "comparison"
    if path.suffix == CHECKPOINT_SUFFIX or (path / MODEL_FILE).exists() or subject in shipped_models():
        return "model"
    if (path / MEMBER_FOLDER.format(0)).is_dir():  # an ensemble whose members are not all trained
        return "run"
    if is_picture(path.name, (*PICTURE_SUFFIXES, "pdf")) and not path.is_dir():
        return "picture"
    try:
        find_dataset(subject)
    except DigitcliError as error:
        cause = f"{subject} is no run folder, saved comparison, model, picture or dataset."
        remedy = f"Check its name, or say what it is by --as: {', '.join(get_args(Kind))}."
        raise UsageError(cause, remedy) from error
    return "data"
