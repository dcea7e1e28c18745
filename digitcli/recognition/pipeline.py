"""The reading pipeline, from pictures to readings.

The default models: one network reads every page as a whole (`picture_reader.py`), in threads. Where it is not
certain, networks find the lines of the page and read them (`pages/`), one page at a time:

    stage          module                       result
    1. find        inference/line_finding.py    Findings: the lines of numbers on a page
    2. crop        pages/crops.py               RegionCrops: a line and its strips, the inputs of the networks
    3. recognize   pages/run_networks.py        RegionEvidence: what the networks say about a line
                   pages/recognize.py           NumberResult: a number and its confidence
    4. decide      pages/decision.py            Decision: the status, reason, text and confidence of a page

Classifiers of single digits, where they are named, read digits that stand apart. Their four stages are
`segmentation.py`, `crops.py`, `recognize.py` and `decision.py`. Threads find and crop, and a network takes
the digits of several pages together.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from digitcli.errors import DigitcliError, PictureError
from digitcli.imaging.grayscale import rotate
from digitcli.imaging.opening import grey_from_array, grey_from_image, open_pages
from digitcli.inference.devices import is_out_of_memory
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.crops import DIGIT_SIZES_PX, DigitCrops, crop_numbers
from digitcli.recognition.decision import (
    NOT_A_DIGIT,
    Decision,
    decide_digits,
    decide_error,
    decide_faint_page,
)
from digitcli.recognition.models import RecognitionModels
from digitcli.recognition.ordered_map import grouped_until, ordered_map
from digitcli.recognition.pages.fractions import shows_fraction
from digitcli.recognition.pages.page_reader import PageReader, as_levels
from digitcli.recognition.picture_reader import PictureAnswer, PictureReader
from digitcli.recognition.recognize import DigitEvidence, recognize_page, run_classifier
from digitcli.recognition.results import Reading
from digitcli.recognition.segmentation import find_numbers
from digitcli.recognition.sources import Source

# Pages at most that go through the networks together (chosen by hand).
PAGES_AT_ONCE = 32
# Pixels of kept pictures at which their pages go through the networks: 64 MB (chosen by hand). The threads
# keep up to jobs + 2 further pages.
KEPT_PIXELS = 16_000_000

Picture = str | Path | bytes | np.ndarray | Image.Image


@dataclass(frozen=True)
class PipelineOptions:
    """The settings of the pipeline, see `Reader` for their meaning.

    page_min_confidence: the confidence below which a number is refused that is not the only one of its page.
    """

    batch_size: int
    jobs: int
    min_confidence: float
    page_min_confidence: float
    constraints: Constraints | None
    top_k: int
    keep_pictures: bool
    rotation: int = 0


@dataclass(frozen=True)
class PreparedPage:
    """A page after the threads: read by the network for whole pictures, or with its digits cropped.

    file: the name of the picture.
    number: the number of the page from 1 on, None for a picture with one page.
    regions: the regions in reading order and their crops, for classifiers of single digits.
    is_faint: whether only faint marks were found.
    error: the error of a page that could not be opened or searched.
    picture, ink: as in `Reading`, where pictures are kept.
    levels: the page, uint8 (H, W), for networks that read whole pages.
    first: what the network for whole pictures says; nothing else reads a page of which it is certain.
    """

    file: str
    number: int | None
    regions: tuple[DigitCrops, ...] = ()
    is_faint: bool = False
    error: PictureError | None = None
    picture: np.ndarray | None = None
    ink: np.ndarray | None = None
    levels: np.ndarray | None = None
    first: PictureAnswer = PictureAnswer()


def run_pipeline(
    pictures: Iterable[Picture | Source], models: RecognitionModels, options: PipelineOptions
) -> Generator[Reading]:
    """Read pictures: find and crop in threads, then recognize and decide, several pages together.

    Yields one reading a page, in the order of the pictures, and takes pictures from `pictures` only as it
    needs them.
    """
    pool = ThreadPoolExecutor(options.jobs)
    is_closed = threading.Event()

    def is_full(pages: list[PreparedPage]) -> bool:
        return is_closed.is_set() or _are_enough(pages, options.batch_size)

    def is_batch(pages: list[PreparedPage]) -> bool:
        return models.page_reader is not None or is_full(pages)  # networks of pages read each by itself

    def is_prepared(pages: list[PreparedPage]) -> bool:
        return options.keep_pictures or is_full(pages)  # many kept pictures would fill the memory

    def batches_of(picture: Picture | Source) -> Iterator[list[PreparedPage]]:
        return grouped_until(find_and_crop(picture, models, options), is_prepared)

    try:
        pages = _pages_ahead(pool, map(batches_of, pictures), is_prepared, options.jobs + 1)
        for batch in grouped_until(pages, is_batch):
            yield from recognize_and_decide(batch, models, options)
    finally:
        is_closed.set()
        pool.shutdown(wait=False, cancel_futures=True)  # a picture that takes long must not delay the end


def find_and_crop(
    picture: Picture | Source, models: RecognitionModels, options: PipelineOptions
) -> Iterator[PreparedPage]:
    """Open a picture, and read each page as a whole, or find and crop its digits.

    A page that fails holds its error.

    Raises:
        ModelError: the network for whole pictures answers with values that are not finite.
    """
    name = _name_of(picture)
    for number, grey in _open(picture):
        if isinstance(grey, PictureError):
            yield PreparedPage(name, number, error=grey)
            continue
        try:
            page = _find_and_crop(name, number, rotate(grey, options.rotation), models, options)
        except DigitcliError:
            raise
        except Exception as fault:
            yield PreparedPage(name, number, error=_failure(name, fault))
            continue
        yield page if options.keep_pictures else replace(page, picture=None, ink=None)


def _find_and_crop(
    name: str, number: int | None, grey: np.ndarray, models: RecognitionModels, options: PipelineOptions
) -> PreparedPage:
    if models.page_reader is None:
        layout = find_numbers(grey)  # stage 1: find
        regions = crop_numbers(layout)  # stage 2: crop
        return PreparedPage(name, number, regions, layout.is_faint, picture=grey, ink=layout.ink)
    levels = as_levels(grey)
    first = PictureAnswer()
    if models.picture_reader is not None:
        first = models.picture_reader.read(levels, options.constraints, options.top_k)
    return PreparedPage(name, number, picture=grey, levels=None if first.is_certain else levels, first=first)


def recognize_and_decide(
    pages: Sequence[PreparedPage], models: RecognitionModels, options: PipelineOptions
) -> list[Reading]:
    """Run classifiers on the digits of all pages together, then find the numbers of each page and decide.

    Raises:
        ModelError: a network answers with values that are not finite.
    """
    # stage 3: recognize
    try:
        evidence = iter(
            run_classifier([region for page in pages for region in page.regions], models.classifier)
        )
    except DigitcliError:
        raise
    except Exception as fault:
        if len(pages) > 1:  # the others are read without the page that fails
            return [recognize_and_decide([page], models, options)[0] for page in pages]
        return [
            _reading(page, decide_error(_failure(page.file, fault)), models.name, options) for page in pages
        ]
    readings = []
    for page in pages:
        page_evidence = list(itertools.islice(evidence, len(page.regions)))
        readings.append(_reading(page, _decide(page, page_evidence, models, options), models.name, options))
    return readings


def _decide(
    page: PreparedPage,
    evidence: Sequence[DigitEvidence],
    models: RecognitionModels,
    options: PipelineOptions,
) -> Decision:
    """Finish stage 3 for one page, and decide on the page.

    Which networks answer does not depend on the threshold, so that it changes no text and no confidence.
    """
    if page.error is not None:
        return decide_error(page.error)
    try:
        if models.page_reader is None:
            decision = _decide_regions(page, evidence, models, options)
        else:
            decision = _decide_whole(page, models.page_reader, models.picture_reader, options)
    except DigitcliError:
        raise
    except Exception as fault:
        return decide_error(_failure(page.file, fault))
    is_among_others = models.page_reader is not None and len(decision.numbers) > 1
    return decision.refuse_below(options.page_min_confidence if is_among_others else options.min_confidence)


def _decide_whole(
    page: PreparedPage,
    page_reader: PageReader,
    picture_reader: PictureReader | None,
    options: PipelineOptions,
) -> Decision:
    """Decide on a page by the networks that find and read its numbers, at no threshold.

    Where they find none, the network for whole pictures may. They take the parts of a stacked fraction for
    numbers, so that a rule tells these, unless all numbers have a single digit.
    """
    first = page.first
    if page.levels is None:
        assert first.decision is not None
        return first.decision
    decision = page_reader.read(page.levels, options.constraints, options.top_k, first.line)
    detections = decision.detections
    if not decision.numbers and picture_reader is not None:
        return replace(picture_reader.answer_instead(first, decision), detections=detections)
    are_digits = options.constraints is not None and options.constraints.is_of_single_digits
    if not decision.rotation and not are_digits and shows_fraction(page.levels, decision.numbers):
        passed_over = tuple(replace(each, has_number=False) for each in detections)
        return replace(NOT_A_DIGIT, detections=passed_over)
    return decision


def _decide_regions(
    page: PreparedPage,
    evidence: Sequence[DigitEvidence],
    models: RecognitionModels,
    options: PipelineOptions,
) -> Decision:
    """Decide on a page by the regions of its ink, at no threshold."""
    results = recognize_page(evidence, options.constraints, options.top_k)
    decision = decide_digits(results, options.constraints)  # stage 4: decide
    return decide_faint_page(decision, models.can_reject) if page.is_faint else decision


def _are_enough(pages: list[PreparedPage], batch_size: int) -> bool:
    """Tell whether the pages fill a batch of a classifier, or their kept pictures take much memory."""
    components = sum(len(crops.region.components) for page in pages for crops in page.regions)
    digit_crops = len(DIGIT_SIZES_PX) * components
    pictures = [picture for page in pages for picture in (page.picture, page.levels) if picture is not None]
    kept_pixels = sum(picture.size for picture in pictures)
    return len(pages) >= PAGES_AT_ONCE or digit_crops >= batch_size or kept_pixels >= KEPT_PIXELS


def _pages_ahead(
    pool: ThreadPoolExecutor,
    pictures: Iterable[Iterator[list[PreparedPage]]],
    is_prepared: Callable[[list[PreparedPage]], bool],
    limit: int,
) -> Iterator[PreparedPage]:
    """Yield the pages of pictures in order, while threads prepare at most `limit` pictures that follow.

    A picture is an iterator of batches of its pages. Its first batch is prepared ahead, and each further one
    while the consumer uses the batch before, so a long document neither delays its first answers nor fills
    the memory. `is_prepared` says whether a batch is full, so that another may follow it.
    """

    def prepare_next(batches: Iterator[list[PreparedPage]]) -> Future[list[PreparedPage]]:
        try:
            return pool.submit(next, batches, [])
        except RuntimeError as error:  # the system starts no further thread; the pages before come first
            failed: Future[list[PreparedPage]] = Future()
            failed.set_exception(error)
            return failed

    for batches, task in ordered_map(prepare_next, pictures, limit):
        batch = task.result()
        while batch:
            following = prepare_next(batches) if is_prepared(batch) else None
            yield from batch
            batch = following.result() if following else []


def _reading(page: PreparedPage, decision: Decision, model: str, options: PipelineOptions) -> Reading:
    picture, ink = (
        None if each is None else rotate(each, decision.rotation) for each in (page.picture, page.ink)
    )
    return Reading(
        file=page.file,
        page=page.number,
        status=decision.status,
        reason=decision.reason,
        text=decision.text,
        confidence=decision.confidence,
        numbers=decision.numbers,
        model=model,
        error=decision.error,
        picture=picture,
        ink=ink,
        changed=decision.is_changed,
        rotation=(options.rotation + decision.rotation) % 360,
        detections=decision.detections,
    )


def _name_of(picture: Picture | Source) -> str:
    if isinstance(picture, Source):
        return picture.name
    return os.fsdecode(picture) if isinstance(picture, str | os.PathLike) else ""


def _open(picture: Picture | Source) -> Iterator[tuple[int | None, np.ndarray | PictureError]]:
    """Yield the number of each page and its grey picture, float32 (H, W) in [0, 1], or an error."""
    content = picture.content if isinstance(picture, Source) else picture
    try:
        if isinstance(content, str | os.PathLike):
            yield from open_pages(Path(content))
        elif isinstance(content, bytes | bytearray | memoryview):
            yield from open_pages(bytes(content))
        else:
            yield None, _grey_of(content)
    except PictureError as error:
        yield None, error
    except Exception as fault:
        yield None, _failure(_name_of(picture), fault)


def _grey_of(content: object) -> np.ndarray:
    if isinstance(content, PictureError):
        raise content
    if isinstance(content, np.ndarray):
        return grey_from_array(content)
    if isinstance(content, Image.Image):
        return grey_from_image(content)
    cause = f"A value of type {type(content).__name__} is not a picture."
    raise PictureError("not_an_image", cause, "Give a path, a file's bytes, an array or a PIL image.")


def _failure(name: str, fault: Exception) -> PictureError:
    """Return the error of a page at which the program failed, so that no other page is lost."""
    if is_out_of_memory(fault):
        return PictureError("too_large", f"There is not enough memory for '{name}'.", "Make it smaller.")
    cause = f"Internal error in '{name}', {type(fault).__name__}: {fault}."
    return PictureError("internal", cause, "This is a bug; please report it with the picture.")
