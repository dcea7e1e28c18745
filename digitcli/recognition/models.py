"""The networks of a reader, and the models that make up a reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from digitcli.errors import UsageError
from digitcli.inference.model_resolution import ResolvedModel, check_distinct, resolve_models
from digitcli.inference.predictor import DigitClassifier, LineRecognizer, PageFinder
from digitcli.recognition.pages.page_reader import PageReader
from digitcli.recognition.results import DEFAULT_MODELS

# The architecture that reads what a page finder found.
STRIP_READER = "strip_reader"
# The default model of each kind, see `_kind`.
DEFAULT_OF_KIND = dict(zip(("line", "digit", "page", "strip"), DEFAULT_MODELS, strict=True))


@dataclass(frozen=True)
class RecognitionModels:
    """The networks of a reader.

    line_models: networks that read line crops.
    classifier: the mean of the networks that read digit crops, or None.
    page_reader: the networks that find lines on whole pages and read strips of them, or None.
    """

    line_models: tuple[LineRecognizer, ...]
    classifier: DigitClassifier | None
    page_reader: PageReader | None = None

    @property
    def name(self) -> str:
        """The names and identities of all weights: `reader@1a2b3c4d+digit_or_none@5e6f7a8b`."""
        return "+".join(model.name for model in self._all)

    @property
    def devices(self) -> set[str]:
        """The devices on which the networks compute."""
        return {model.device for model in self._all}

    @property
    def _all(self) -> list[LineRecognizer | DigitClassifier | PageFinder]:
        models: list[LineRecognizer | DigitClassifier | PageFinder] = [*self.line_models]
        if self.classifier is not None:
            models.append(self.classifier)
        if self.page_reader is not None:
            readers = [model for model in self.page_reader.line_models if model not in models]
            models += [self.page_reader.finder, *readers]
        return models

    @property
    def read_regions(self) -> bool:
        """Whether there are networks that read regions, which are found by their ink."""
        return bool(self.line_models) or self.classifier is not None

    @property
    def can_reject(self) -> bool:
        """Whether the digit networks were trained to reject pictures that show no digit."""
        return self.classifier is not None and self.classifier.can_reject


def complete_models(named: Sequence[ResolvedModel]) -> tuple[ResolvedModel, ...]:
    """Return the models of a reader for which these are named; without any, the default ones.

    A model that reads lines replaces the default one only: for each other kind, of which no model is named,
    the default one stays.

    Raises:
        UsageError: a model is named twice, or a page finder, or a network that reads what it found, is named
            without the other.
        ModelError: a default model is missing or damaged.
    """
    check_distinct(named)
    kinds = {_kind(model) for model in named}
    missing = [name for kind, name in DEFAULT_OF_KIND.items() if kind not in kinds]
    models = (*named, *(resolve_models(missing) if not named or "line" in kinds else ()))
    _check_pair(models)
    return models


def reads_strips(model: ResolvedModel) -> bool:
    """Return whether a model reads what a page finder found."""
    return model.header.architecture == STRIP_READER


def _kind(model: ResolvedModel) -> str:
    """Return the task of a model, or `strip` if it reads what a page finder found."""
    return "strip" if reads_strips(model) else model.header.task


def _check_pair(models: Sequence[ResolvedModel]) -> None:
    """Check that one page finder is named together with networks that read strips.

    Raises:
        UsageError: they are not.
    """
    finders = [model for model in models if model.header.task == "page"]
    readers = [model for model in models if reads_strips(model)]
    if readers and not finders:
        raise UsageError(f"{readers[0].name} reads strips of a page finder.", "Name a page finder too.")
    if finders and not readers:
        raise UsageError(f"{finders[0].name} only finds lines.", f"Name a {STRIP_READER} too.")
    if len(finders) > 1:
        raise UsageError("Several page finders are named.", "Name one.")
