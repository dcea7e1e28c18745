"""The report of readings: counts, and every answer with its picture, the least certain first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from digitcli.recognition.reading_formats import SavedNumber, SavedReading
from digitcli.recognition.readings import Status, describe_confidence
from digitcli.reporting.crops import Answer, crop_answers
from digitcli.reporting.page import Figure, Page

# Rows of the table, and of the list of failures: the least certain are those to check.
MAX_ROWS = 500
# Rows with a picture: 200 pictures take about 1 MB.
MAX_CROPS = 200
MEANINGS: dict[Status, str] = {
    "read": "pages read",
    "partial": "pages read in part",
    "refused": "pages refused",
    "blank": "blank pages",
    "error": "pages not readable",
}


@dataclass(frozen=True)
class Row:
    """An answer: one number of a page, or the whole page if its record has no numbers, and its crop."""

    reading: SavedReading
    number: SavedNumber | None
    crop: Figure | None

    @property
    def answer(self) -> SavedNumber | SavedReading:
        """What has the text, the confidence, the status and the reason of this row."""
        return self.number or self.reading

    @property
    def meaning(self) -> str:
        """Of what the confidence is the probability, if the answer has no digits."""
        return describe_confidence(self.answer.status or "", self.answer.text)

    @property
    def place(self) -> str:
        """Where a number stands beside others, if that is known."""
        if self.number is None or self.number.row is None or len(self.reading.numbers) == 1:
            return ""
        return f"row {self.number.row}, column {self.number.column}"


def page_of_readings(readings: Sequence[SavedReading], source: str, digest: str) -> Page:
    """Return the report of readings; pictures are looked for in the current folder and beside `source`."""
    failures = [reading for reading in readings if reading.status == "error"]
    answers: list[Answer] = [
        (reading, number)
        for reading in readings
        if reading.status != "error"
        for number in reading.numbers or (None,)
    ]
    answers.sort(key=lambda answer: _answer(answer).confidence or 0.0)
    shown = answers[:MAX_ROWS]
    crops = crop_answers(shown[:MAX_CROPS], Path(source).parent)
    statuses = Counter(reading.status for reading in readings)
    values = {
        "pages": len(readings),
        "meanings": MEANINGS,
        "statuses": {status: statuses[status] for status in get_args(Status) if statuses[status]},
        "numbers": Counter(number.status for reading in readings for number in reading.numbers),
        "reasons": Counter(each.reason for each in map(_answer, answers) if _is_refused(each)).most_common(),
        "models": sorted({reading.model for reading in readings if reading.model}),
        "answers": len(answers),
        "rows": [Row(*answer, crops.figures.get(index)) for index, answer in enumerate(shown)],
        "crops": len(crops.figures),
        "ambiguous": crops.ambiguous,
        "max_crops": MAX_CROPS,
        "failures": failures[:MAX_ROWS],
        "failed": len(failures),
    }
    return Page("readings", f"Readings in {Path(source).name}", source, digest, "file", values)


def _answer(answer: Answer) -> SavedNumber | SavedReading:
    reading, number = answer
    return number or reading


def _is_refused(answer: SavedNumber | SavedReading) -> bool:
    return answer.reason is not None and answer.status in ("partial", "refused")
