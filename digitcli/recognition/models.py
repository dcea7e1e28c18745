"""The networks of a reader, and the models that make up a reader."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from digitcli.errors import UsageError
from digitcli.inference.model_resolution import (
    ResolvedModel,
    check_distinct,
    resolve_model,
    resolve_models,
)
from digitcli.inference.predictor import DigitClassifier, GapSplitter, LineRecognizer, PageFinder
from digitcli.recognition.line_reading import GLANCE
from digitcli.recognition.pages import PageNetworks
from digitcli.recognition.readings import DEFAULT_MODELS

# The default model of each kind, see `_kind`.
DEFAULT_OF_KIND = dict(zip(("line", "page", "picture", "gaps"), DEFAULT_MODELS, strict=True))


@dataclass(frozen=True)
class RecognitionModels:
    """The networks of a reader: a classifier of single digits, or networks that find numbers and read them.

    classifier: the mean of the networks that read digit crops, or None.
    page_networks: the networks that read pages, or None.
    """

    classifier: DigitClassifier | None = None
    page_networks: PageNetworks | None = None

    @functools.cached_property
    def name(self) -> str:
        """The names and identities of all weights: `finder@1a2b3c4d+reader@5e6f7a8b`."""
        return "+".join(model.name for model in self._all)

    @property
    def devices(self) -> set[str]:
        """The devices on which the networks compute."""
        return {model.device for model in self._all}

    @property
    def _all(self) -> list[LineRecognizer | DigitClassifier | PageFinder | GapSplitter]:
        if self.classifier is not None:
            return [self.classifier]
        assert self.page_networks is not None
        networks = self.page_networks
        others = [each for each in (networks.grouper, networks.picture) if each is not None]
        return [networks.finder, *networks.readers, *others]


def complete_models(named: Sequence[ResolvedModel]) -> tuple[ResolvedModel, ...]:
    """Return the models of a reader for which these are named; without any, the default ones.

    A model that reads lines, or one that groups digits, replaces the default one only: for each other kind,
    of which no model is named, the default one stays. Only the one that reads easy pictures before the others
    does not: the named model was chosen to read them itself, unless it was calibrated or adapted together
    with that one. Classifiers of single digits read digits that stand apart, and need no other model.

    Raises:
        UsageError: a model is named twice, without another that it needs, or with one that cannot help it.
        ModelError: a default model is missing or damaged.
    """
    check_distinct(named)
    models = (*named, *resolve_models(_missing_defaults(named)))
    _check_fit(models)
    return models


def _missing_defaults(named: Sequence[ResolvedModel]) -> list[str]:
    """Return the names of the default models that complete the named ones."""
    kinds = {_kind(model) for model in named}
    missing = [name for kind, name in DEFAULT_OF_KIND.items() if kind not in kinds]
    if "digit" in kinds or kinds == {"picture"}:
        return []
    first = DEFAULT_OF_KIND["picture"]
    if named and first in missing and not _was_measured_with(first, named):
        missing.remove(first)
    return missing


def _was_measured_with(name: str, models: Sequence[ResolvedModel]) -> bool:
    """Return whether the guarantee or the risk of one of the models was measured together with a model."""
    headers = [model.header for model in models]
    companions = {digest for header in headers for digest in header.risk_companions}
    companions |= {digest for header in headers if header.guarantee for digest in header.guarantee.companions}
    return bool(companions) and resolve_model(name).sha256 in companions


def reads_pictures(model: ResolvedModel) -> bool:
    """Return whether a model reads whole pictures, before the others."""
    return model.header.architecture == GLANCE


def _kind(model: ResolvedModel) -> str:
    """Return the task of a model, or `picture` if it reads whole pictures."""
    return "picture" if reads_pictures(model) else model.header.task


def _check_fit(models: Sequence[ResolvedModel]) -> None:
    """Check that models can read together.

    Raises:
        UsageError: they read different things, or one is named twice or without another that it needs.
    """
    kinds = [_kind(model) for model in models]
    digits, finders, first, groupers = (
        [model for model, kind in zip(models, kinds, strict=True) if kind == wanted]
        for wanted in ("digit", "page", "picture", "gaps")
    )
    if digits and len(digits) < len(models):
        other = next(model for model in models if model not in digits)
        cause = f"{digits[0].name} reads single digits, and {other.name} numbers of several digits."
        raise UsageError(cause, "Name models of one kind.")
    if first and len(models) == 1:
        cause = f"{first[0].name} reads easy pictures only."
        raise UsageError(cause, f"Add -m {DEFAULT_OF_KIND['line']}, which reads the others.")
    several_of = (
        ("page finders", finders),
        ("models for easy pictures", first),
        ("models that group digits", groupers),
    )
    for name, several in several_of:
        if len(several) > 1:
            raise UsageError(f"Several {name} are named.", "Name one.")
