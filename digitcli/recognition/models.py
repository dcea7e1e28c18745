"""The networks of a reader."""

from __future__ import annotations

from dataclasses import dataclass

from digitcli.inference.predictor import DigitClassifier, LineRecognizer, PageFinder
from digitcli.recognition.pages.page_reader import PageReader


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
