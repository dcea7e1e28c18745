"""Tell what a file holds that shall be reported: an evaluation, a comparison, readings or an adaptation."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digitcli.adaptation.saved import SavedAdaptation, SavedSelfTraining
from digitcli.comparison.saved_comparison import SavedComparison, SavedModel
from digitcli.errors import InputError
from digitcli.evaluation.saved import SavedEvaluation, SavedLineEvaluation, parse_evaluation
from digitcli.json_records import parse_record
from digitcli.recognition.reading_formats import (
    FIELDS,
    NUMBER_FIELDS,
    SavedReading,
    parse_readings,
    record_of_row,
)

REMEDY = (
    "Give a run folder, a folder of digitcli adapt, a model, or a file that one of these wrote: "
    "digitcli evaluate --save FILE.json, digitcli compare --save FILE.json, digitcli predict -o FILE.jsonl"
)
# Keys by which a record is recognized.
EVALUATION_KEYS, LINE_EVALUATION_KEYS = {"model", "accuracy", "confusion"}, {"model", "exact_match"}
COMPARISON_KEYS, READING_KEYS = {"schema", "models"}, {"file", "status"}
ADAPTATION_KEYS, SELF_TRAINING_KEYS = {"composed_before", "folds"}, {"composed_before", "newly_answered"}

Evaluation = SavedEvaluation | SavedLineEvaluation
AnyAdaptation = SavedAdaptation | SavedSelfTraining
Content = Evaluation | AnyAdaptation | tuple[SavedModel, ...] | tuple[SavedReading, ...]


@dataclass(frozen=True)
class Source:
    """The content of a file, and the SHA-256 of its bytes."""

    content: Content
    digest: str


def read_source(path: Path) -> Source:
    """Return the content of a file, whose kind follows from what it holds.

    Raises:
        InputError: the file cannot be read, is damaged, or holds something else.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
        return Source(_parse(text), hashlib.sha256(content).hexdigest())
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file.", REMEDY) from error
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be reported: {reason}.", REMEDY) from error


def _parse(text: str) -> Content:
    if not text.strip():
        raise ValueError("it is empty")
    if text.splitlines()[0] == ",".join(NUMBER_FIELDS):
        raise ValueError("it has a row per number; predict without --per number writes a row per page")
    if text.splitlines()[0] == ",".join(FIELDS):
        return parse_readings([record_of_row(row) for row in csv.DictReader(io.StringIO(text, newline=""))])
    record = _parse_json(text)
    if isinstance(record, list):
        if record and not all(isinstance(each, dict) and each.keys() >= READING_KEYS for each in record):
            raise ValueError("it holds a list of something else than readings")
        return parse_readings(record)
    keys = record.keys() if isinstance(record, dict) else set()
    if keys >= EVALUATION_KEYS or keys >= LINE_EVALUATION_KEYS:
        return parse_evaluation(record)
    for adaptation_keys, kind in (
        (ADAPTATION_KEYS, SavedAdaptation),
        (SELF_TRAINING_KEYS, SavedSelfTraining),
    ):
        if keys >= adaptation_keys:
            adaptation: AnyAdaptation = parse_record(record, kind)
            return adaptation
    if keys >= COMPARISON_KEYS:
        comparison: SavedComparison = parse_record(record, SavedComparison)
        return comparison.models
    if keys >= READING_KEYS:
        return parse_readings([record])
    raise ValueError("it holds no evaluation, no saved comparison, no readings and no adaptation")


def _parse_json(text: str) -> Any:
    """Return the JSON value of a text, or the list of the values if it is JSON lines."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        lines = text.splitlines()
        if len(lines) < 2 or error.msg != "Extra data":
            raise ValueError(f"it is no JSON: {error}") from error
    records = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            records += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number} is no JSON: {error}") from error
    return records
