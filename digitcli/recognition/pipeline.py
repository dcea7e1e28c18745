"""The reading pipeline: four stages from pictures to readings.

    stage          module            result
    1. find        segmentation.py   PageLayout: the regions of a page, one for each number
    2. crop        crops.py          PreparedPage: the regions and their crops, the inputs of the networks
    3. recognize   recognize.py      RegionResult: the numbers of a region and their confidence
    4. decide      decision.py       Decision: the status, reason, text and confidence of a page

Before them, one network reads every page as a whole (`picture_reader.py`); where it is certain, its answer
counts. A single number that the four stages read counts if that network reads the same, or if they are sure
and it says nothing against it. Every other page is read again by networks that learned to find numbers
(`pages/page_reader.py`), one page at a time.
Threads read the whole page, find and crop. The other networks take the regions of several pages together.
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
from digitcli.imaging import open_pages
from digitcli.imaging.grayscale import rotate
from digitcli.imaging.opening import grey_from_array, grey_from_image
from digitcli.inference.devices import is_out_of_memory
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.crops import DIGIT_SIZES_PX, RegionCrops, crop_numbers
from digitcli.recognition.decision import (
    Decision,
    choose,
    decide_error,
    decide_faint_page,
    decide_page,
    surer,
)
from digitcli.recognition.models import RecognitionModels
from digitcli.recognition.ordered_map import grouped_until, ordered_map
from digitcli.recognition.pages.page_reader import as_levels
from digitcli.recognition.picture_reader import PictureAnswer
from digitcli.recognition.recognize import RegionEvidence, recognize_page, run_networks
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

    page_min_confidence: the confidence below which a number is refused that networks for pages read.
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
    """A page after the threads: read by the network for whole pictures, or with its numbers cropped, or both.

    file: the name of the picture.
    number: the number of the page from 1 on, None for a picture with one page.
    regions: the regions in reading order and their crops.
    is_faint: whether only faint marks were found.
    error: the error of a page that could not be opened or searched.
    picture, ink: as in `Reading`, where pictures are kept.
    levels: the page, uint8 (H, W), for networks that read whole pages.
    first: what the network for whole pictures says; nothing else reads a page of which it is certain.
    """

    file: str
    number: int | None
    regions: tuple[RegionCrops, ...] = ()
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

    def is_batch(pages: list[PreparedPage]) -> bool:
        return is_closed.is_set() or _are_enough(pages, options.batch_size)

    def is_prepared(pages: list[PreparedPage]) -> bool:
        return options.keep_pictures or is_batch(pages)  # many kept pictures would fill the memory

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
    """Open a picture, read each page as a whole, and find and crop its numbers where that is not certain.

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
    levels = as_levels(grey) if models.page_reader or models.picture_reader else None
    first = PictureAnswer()
    if models.picture_reader is not None and levels is not None:
        first = models.picture_reader.read(levels, options.constraints, options.top_k)
    if first.is_certain:
        return PreparedPage(name, number, picture=grey, first=first)
    if not models.read_regions:
        return PreparedPage(name, number, picture=grey, levels=levels, first=first)
    with_lines = bool(models.line_models)
    layout = find_numbers(grey, with_lines)  # stage 1: find
    regions = crop_numbers(layout, with_lines)  # stage 2: crop
    return PreparedPage(
        name,
        number,
        regions,
        layout.is_faint,
        picture=grey,
        ink=layout.ink,
        levels=levels,
        first=first,
    )


def recognize_and_decide(
    pages: Sequence[PreparedPage], models: RecognitionModels, options: PipelineOptions
) -> list[Reading]:
    """Run the networks on the regions of all pages together, then find the numbers of each page and decide.

    Raises:
        ModelError: a network answers with values that are not finite.
    """
    # stage 3: recognize
    try:
        evidence = iter(run_networks([region for page in pages for region in page.regions], models))
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
    evidence: Sequence[RegionEvidence],
    models: RecognitionModels,
    options: PipelineOptions,
) -> Decision:
    """Finish stage 3 for one page, and decide on the page.

    Which networks answer does not depend on the threshold, so that it changes no text and no confidence.
    """
    if page.error is not None:
        return decide_error(page.error)
    first = page.first.decision
    if first is not None and first.is_certain:
        return first.refuse_below(options.min_confidence)
    try:
        by_ink = _decide_regions(page, evidence, models, options) if models.read_regions else None
        if by_ink is not None and first is not None and by_ink.is_confirmed_by(first):
            return surer(by_ink, first).refuse_below(options.min_confidence)
        is_easy = by_ink is not None and by_ink.is_easy and first is None
        is_sum = page.first.has_operators
        is_doubted = page.first.sees_nothing or is_sum
        if models.page_reader is None or page.levels is None or (is_easy and not is_doubted):
            assert by_ink is not None
            return _or_first(by_ink, page.first, models).refuse_below(options.min_confidence)
    except Exception as fault:
        return decide_error(_failure(page.file, fault))
    try:
        whole = models.page_reader.read(page.levels, options.constraints, options.top_k)
    except DigitcliError:
        raise
    except Exception as fault:
        if by_ink is not None and is_out_of_memory(fault):
            return _or_first(by_ink, page.first, models).refuse_below(options.min_confidence)
        return decide_error(_failure(page.file, fault))
    if by_ink is not None and not whole.numbers:
        by_ink = _or_surer(by_ink, page.first)
    elif by_ink is not None and is_easy and not is_sum:  # the doubt was wrong
        return by_ink.refuse_below(options.min_confidence)
    chosen = _or_first(whole if by_ink is None else choose(by_ink, whole), page.first, models)
    is_whole = chosen is whole
    return chosen.refuse_below(options.page_min_confidence if is_whole else options.min_confidence)


def _or_first(decision: Decision, first: PictureAnswer, models: RecognitionModels) -> Decision:
    """Return a decision; if it has no number, what the network for whole pictures says.

    A number that it alone finds is right if one is there and its text is right.
    """
    if decision.numbers or decision.is_fraction or first.nothing is None or models.picture_reader is None:
        return decision
    is_there = models.picture_reader.probability_of_number(first.nothing, decision.status == "blank")
    if first.decision is None or first.decision.confidence is None:
        return decision.without_number(1 - is_there)
    return first.decision.at_most(is_there * first.decision.confidence)


def _or_surer(by_ink: Decision, first: PictureAnswer) -> Decision:
    """Return what the regions of the ink show where the networks for pages find nothing.

    It is at most as sure as a digit is written, and gives way to a surer number of the network for pictures.
    """
    if not by_ink.numbers or first.nothing is None:
        return by_ink
    by_ink = by_ink.at_most(1 - first.nothing)
    return by_ink if first.decision is None else surer(by_ink, first.decision)


def _decide_regions(
    page: PreparedPage,
    evidence: Sequence[RegionEvidence],
    models: RecognitionModels,
    options: PipelineOptions,
) -> Decision:
    """Decide on a page by the regions of its ink, at no threshold."""
    results = recognize_page(evidence, options.constraints, options.top_k)
    decision = decide_page(results, options.constraints)  # stage 4: decide
    if page.is_faint:
        decision = decide_faint_page(decision, models.can_reject or bool(models.line_models))
    return decision


def _are_enough(pages: list[PreparedPage], batch_size: int) -> bool:
    """Tell whether the pages fill a batch of the networks, or their kept pictures take much memory."""
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
    )


def _name_of(picture: Picture | Source) -> str:
    if isinstance(picture, Source):
        return picture.name
    return str(picture) if isinstance(picture, str | os.PathLike) else ""


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
