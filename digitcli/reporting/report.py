"""Write the report of a run, an evaluation, a comparison, readings or an adaptation to one HTML file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from digitcli.adaptation.saved import SavedAdaptation, SavedSelfTraining
from digitcli.atomic_write import write_whole
from digitcli.comparison.saved_comparison import SavedModel
from digitcli.diagnosis.findings import Diagnosis
from digitcli.diagnosis.subjects import faults_of_reading
from digitcli.errors import DigitcliError, InputError, did_you_mean
from digitcli.evaluation.saved import SavedEvaluation, SavedLineEvaluation
from digitcli.events import Notice, OnEvent
from digitcli.inference.checkpoint import ADAPTATION_FILE
from digitcli.inference.model_resolution import adapted_checkpoints, resolve_model, shipped_models
from digitcli.reporting.page import Kind, Page, render
from digitcli.reporting.source import REMEDY, read_source

MODEL_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Report:
    """A report that was written.

    report: the HTML file.
    size_bytes: its size.
    """

    report: str
    kind: Kind
    title: str
    source: str
    size_bytes: int


def write_report(
    source: str,
    path: Path,
    title: str | None = None,
    *,
    with_findings: bool = True,
    on_event: OnEvent = lambda event: None,
) -> Report:
    """Write the report of a source to a file, and return what was written.

    source: a run folder; a folder that adapt wrote; a file that evaluate, compare or predict saved; or the
        name of a shipped model or a checkpoint file, which is evaluated now on its default data.
    title: the title of the page, by default the kind of the report and the name of the source.
    with_findings: whether a run is examined as by `digitcli doctor`, which trains for some hundred steps.

    Raises:
        InputError: there is no such source, or it holds something else or is damaged.
        ModelError: the run or the model is damaged or has not completed an epoch.
        OutputError: the file cannot be written.
    """
    page = build_page(source, on_event, with_findings)
    if title:
        page = replace(page, title=title)
    content = render(page).encode()
    write_whole(path, content)
    return Report(str(path), page.kind, page.title, source, len(content))


def build_page(source: str, on_event: OnEvent, with_findings: bool = True) -> Page:
    """Return the page of a source, see `write_report`."""
    path = Path(source)
    with faults_of_reading(source):
        is_model = source in shipped_models() or (path.suffix == MODEL_SUFFIX and path.is_file())
        exists = bool(source) and path.exists()  # an empty path is the current folder
        is_folder = path.is_dir()
        is_adaptation = is_folder and bool(adapted_checkpoints(path))
    if is_model:
        from digitcli.reporting.evaluation import page_of_model

        return page_of_model(resolve_model(source), on_event)
    if not exists:
        cause = f"There is no file or folder '{source}', and no shipped model of this name."
        raise InputError(cause, did_you_mean(source, shipped_models()))
    if is_adaptation:
        return _page_of_file(path / ADAPTATION_FILE, source)
    if is_folder:
        from digitcli.reporting.run import page_of_run  # loads torch

        diagnosis, reason = _examine(path, on_event) if with_findings else (None, "")
        return page_of_run(path, on_event, diagnosis, reason)
    return _page_of_file(path, source)


def _examine(folder: Path, on_event: OnEvent) -> tuple[Diagnosis | None, str]:
    """Return what is wrong with a run, or None and the reason why it cannot be examined, with a notice."""
    from digitcli.diagnosis.run import examine_run

    try:
        return examine_run(folder), ""
    except DigitcliError as error:
        on_event(Notice(f"The report has no findings: {error.cause}"))
        return None, error.cause


def _page_of_file(path: Path, source: str) -> Page:
    read = read_source(path)
    content = read.content
    if isinstance(content, SavedEvaluation | SavedLineEvaluation):
        from digitcli.reporting.evaluation import page_of_evaluation

        return page_of_evaluation(content, source, read.digest)
    if isinstance(content, SavedAdaptation | SavedSelfTraining):
        from digitcli.reporting.adaptation import page_of_adaptation

        return page_of_adaptation(content, source, read.digest)
    if not content:
        raise InputError(f"{source} holds no readings.", REMEDY)
    if isinstance(content[0], SavedModel):
        from digitcli.reporting.comparison import page_of_comparison  # loads torch

        return page_of_comparison(content, source, read.digest)
    from digitcli.reporting.readings import page_of_readings

    return page_of_readings(content, source, read.digest)
