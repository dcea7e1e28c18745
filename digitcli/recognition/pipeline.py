"""The reading pipeline, from pictures to readings.

Threads open the pictures (`imaging/opening.py`), and one network glances at every page as a whole. Where it
is not certain, other networks find the lines of the page and read them (`page_networks.py`), one page at a
time:

    stage          module                       result
    1. find        inference/line_finding.py    Findings: the lines of numbers on a page
    2. crop        line_crops.py                RegionCrops: a line and its strips, the inputs of the networks
    3. recognize   region_evidence.py           RegionEvidence: what the networks say about a line
                   recognize.py                 NumberResult: a number and its confidence
    4. decide      page_decision.py             Decision: the numbers of a page, and which are refused
    5. threshold   decision.py                  Decision.refuse_below: less confident numbers are refused, too

Classifiers of single digits, where they are named, read digits that stand apart. Threads find and crop them
(`digit_regions.py`), and a network takes the digits of several pages together (`digits_apart.py`).
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

from digitcli.errors import DigitcliError, PictureError
from digitcli.imaging.grayscale import rotate
from digitcli.imaging.opening import grey_from_array, grey_from_image, open_pages
from digitcli.inference.devices import is_out_of_memory
from digitcli.inference.predictor import DigitClassifier
from digitcli.recognition.constraints import Constraints
from digitcli.recognition.decision import NOT_A_DIGIT, Decision, decide_error
from digitcli.recognition.line_crops import as_levels
from digitcli.recognition.models import RecognitionModels
from digitcli.recognition.page_decision import shows_fraction
from digitcli.recognition.page_networks import Glance
from digitcli.recognition.readings import Reading
from digitcli.recognition.sources import Source

if TYPE_CHECKING:  # these load the rules for ink, which reading whole pages does not need
    from digitcli.recognition.digit_regions import DigitCrops

# Pages at most that go through the networks together (chosen by hand).
PAGES_AT_ONCE = 32
# Pixels of kept pictures at which their pages go through the networks: 64 MB (chosen by hand). The threads
# keep up to jobs + 2 further pages.
KEPT_PIXELS = 16_000_000

# Crops of each digit that a classifier sees, see `digit_regions.DIGIT_SIZES_PX`.
CROPS_OF_DIGIT = 2

Picture = str | Path | bytes | np.ndarray | Image.Image

Item = TypeVar("Item")
Result = TypeVar("Result")


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
class OpenedPage:
    """A page after the threads: seen as a whole by one network, or with its digits cropped.

    file: the name of the picture.
    number: the number of the page from 1 on, None for a picture with one page.
    error: the error of a page that could not be opened or searched.
    picture, ink: as in `Reading`, where pictures are kept.
    levels: the page, uint8 (H, W), for the networks that find and read lines; None if none is to be asked.
    glance: what the network for whole pictures says.
    regions: the regions in reading order and their crops, for classifiers of single digits.
    is_faint: whether only faint marks were found.
    """

    file: str
    number: int | None
    error: PictureError | None = None
    picture: np.ndarray | None = None
    ink: np.ndarray | None = None
    levels: np.ndarray | None = None
    glance: Glance = Glance()
    regions: tuple[DigitCrops, ...] = ()
    is_faint: bool = False


def run_pipeline(
    pictures: Iterable[Picture | Source], models: RecognitionModels, options: PipelineOptions
) -> Generator[Reading]:
    """Read pictures: open and glance in threads, then read, for classifiers several pages together.

    Yields one reading a page, in the order of the pictures, and takes pictures from `pictures` only as it
    needs them.
    """
    pool = ThreadPoolExecutor(options.jobs)
    is_closed = threading.Event()

    def is_full(pages: list[OpenedPage]) -> bool:
        return is_closed.is_set() or _are_enough(pages, options.batch_size)

    def is_batch(pages: list[OpenedPage]) -> bool:
        return models.classifier is None or is_full(pages)  # networks of pages read each by itself

    def is_opened(pages: list[OpenedPage]) -> bool:
        return options.keep_pictures or is_full(pages)  # many kept pictures would fill the memory

    def batches_of(picture: Picture | Source) -> Iterator[list[OpenedPage]]:
        return grouped_until(open_and_glance(picture, models, options), is_opened)

    try:
        pages = _pages_ahead(pool, map(batches_of, pictures), is_opened, options.jobs + 1)
        for batch in grouped_until(pages, is_batch):
            yield from read_pages(batch, models, options)
    finally:
        is_closed.set()
        pool.shutdown(wait=False, cancel_futures=True)  # a picture that takes long must not delay the end


def open_and_glance(
    picture: Picture | Source, models: RecognitionModels, options: PipelineOptions
) -> Iterator[OpenedPage]:
    """Open a picture, and let one network see each page as a whole, or find and crop its digits.

    A page that fails holds its error.

    Raises:
        ModelError: the network for whole pictures answers with values that are not finite.
    """
    name = _name_of(picture)
    for number, grey in _open(picture):
        if isinstance(grey, PictureError):
            yield OpenedPage(name, number, grey)
            continue
        try:
            seen = _crop_digits if models.page_networks is None else _glance
            page = seen(OpenedPage(name, number), rotate(grey, options.rotation), models, options)
        except DigitcliError:
            raise
        except Exception as fault:
            yield OpenedPage(name, number, _failure(name, fault))
            continue
        yield page if options.keep_pictures else replace(page, picture=None, ink=None)


def _glance(
    page: OpenedPage, grey: np.ndarray, models: RecognitionModels, options: PipelineOptions
) -> OpenedPage:
    levels = as_levels(grey)
    if models.picture_network is None:
        return replace(page, picture=grey, levels=levels)
    glance = models.picture_network.read(levels, options.constraints, options.top_k)
    return replace(page, picture=grey, levels=None if glance.is_certain else levels, glance=glance)


def _crop_digits(
    page: OpenedPage, grey: np.ndarray, models: RecognitionModels, options: PipelineOptions
) -> OpenedPage:
    from digitcli.recognition.digit_regions import crop_numbers, find_numbers

    layout = find_numbers(grey)
    regions = crop_numbers(layout)
    return replace(page, picture=grey, ink=layout.ink, regions=regions, is_faint=layout.is_faint)


def read_pages(
    pages: Sequence[OpenedPage], models: RecognitionModels, options: PipelineOptions
) -> list[Reading]:
    """Find and read the numbers of opened pages, and decide on each page.

    Which networks answer does not depend on the threshold, so that it changes no text and no confidence.

    Raises:
        ModelError: a network answers with values that are not finite.
    """
    if models.classifier is not None:
        decisions = _read_digits(pages, models.classifier, options)
    else:
        decisions = [_decide(page, partial(_read_page, page, models, options)) for page in pages]
    return [
        _reading(page, decision, models, options) for page, decision in zip(pages, decisions, strict=True)
    ]


def _decide(page: OpenedPage, read: Callable[[], Decision]) -> Decision:
    """Return the decision on a page, at no threshold; an error if the page has one, or the program fails."""
    if page.error is not None:
        return decide_error(page.error)
    try:
        return read()
    except DigitcliError:
        raise
    except Exception as fault:
        return decide_error(_failure(page.file, fault))


def _read_page(page: OpenedPage, models: RecognitionModels, options: PipelineOptions) -> Decision:
    """Read a page by the networks that find and read its numbers.

    Where they find none, the network for whole pictures may. They take the parts of a stacked fraction for
    numbers, so that a rule tells these, unless all numbers have a single digit.
    """
    glance = page.glance
    if page.levels is None:
        assert glance.decision is not None
        return glance.decision
    assert models.page_networks is not None
    decision = models.page_networks.read(page.levels, options.constraints, options.top_k, glance.line)
    detections = decision.detections
    if not decision.numbers and models.picture_network is not None:
        return replace(models.picture_network.answer_instead(glance, decision), detections=detections)
    are_digits = options.constraints is not None and options.constraints.is_of_single_digits
    if not decision.rotation and not are_digits and shows_fraction(page.levels, decision.numbers):
        passed_over = tuple(replace(each, has_number=False) for each in detections)
        return replace(NOT_A_DIGIT, detections=passed_over)
    return decision


def _read_digits(
    pages: Sequence[OpenedPage], classifier: DigitClassifier, options: PipelineOptions
) -> list[Decision]:
    """Run a classifier on the digits of all pages together, then decide on each page."""
    from digitcli.recognition import digits_apart

    def decide(page: OpenedPage, evidence: Sequence[digits_apart.DigitEvidence]) -> Decision:
        results = digits_apart.recognize_page(evidence, options.constraints, options.top_k)
        decision = digits_apart.decide_digits(results, options.constraints)
        if not page.is_faint:
            return decision
        return digits_apart.decide_faint_page(decision, can_reject=classifier.can_reject)

    try:
        regions = [region for page in pages for region in page.regions]
        evidence = iter(digits_apart.run_classifier(regions, classifier))
    except DigitcliError:
        raise
    except Exception as fault:
        if len(pages) > 1:  # the others are read without the page that fails
            return [decision for page in pages for decision in _read_digits([page], classifier, options)]
        return [decide_error(_failure(page.file, fault)) for page in pages]
    parts = [list(itertools.islice(evidence, len(page.regions))) for page in pages]
    return [_decide(page, partial(decide, page, part)) for page, part in zip(pages, parts, strict=True)]


def _are_enough(pages: list[OpenedPage], batch_size: int) -> bool:
    """Tell whether the pages fill a batch of a classifier, or their kept pictures take much memory."""
    components = sum(len(crops.region.components) for page in pages for crops in page.regions)
    digit_crops = CROPS_OF_DIGIT * components
    pictures = [picture for page in pages for picture in (page.picture, page.levels) if picture is not None]
    kept_pixels = sum(picture.size for picture in pictures)
    return len(pages) >= PAGES_AT_ONCE or digit_crops >= batch_size or kept_pixels >= KEPT_PIXELS


def _pages_ahead(
    pool: ThreadPoolExecutor,
    pictures: Iterable[Iterator[list[OpenedPage]]],
    is_opened: Callable[[list[OpenedPage]], bool],
    limit: int,
) -> Iterator[OpenedPage]:
    """Yield the pages of pictures in order, while threads open at most `limit` pictures that follow.

    A picture is an iterator of batches of its pages. Its first batch is opened ahead, and each further one
    while the consumer uses the batch before, so a long document neither delays its first answers nor fills
    the memory. `is_opened` says whether a batch is full, so that another may follow it.
    """

    def open_next(batches: Iterator[list[OpenedPage]]) -> Future[list[OpenedPage]]:
        try:
            return pool.submit(next, batches, [])
        except RuntimeError as error:  # the system starts no further thread; the pages before come first
            failed: Future[list[OpenedPage]] = Future()
            failed.set_exception(error)
            return failed

    for batches, task in ordered_map(open_next, pictures, limit):
        batch = task.result()
        while batch:
            following = open_next(batches) if is_opened(batch) else None
            yield from batch
            batch = following.result() if following else []


def _reading(
    page: OpenedPage, decision: Decision, models: RecognitionModels, options: PipelineOptions
) -> Reading:
    """Return the reading of a page, in which numbers below the threshold are refused."""
    is_among_others = models.classifier is None and len(decision.numbers) > 1
    decision = decision.refuse_below(
        options.page_min_confidence if is_among_others else options.min_confidence
    )
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
        model=models.name,
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


def ordered_map(
    submit: Callable[[Item], Future[Result]], items: Iterable[Item], limit: int
) -> Generator[tuple[Item, Future[Result]]]:
    """Submit a task for each item, and yield each item with its finished task, in the order of the items.

    At most `limit` tasks are in flight. The next task is submitted before a finished one is yielded, so work
    goes on while the consumer uses the result. Closing the generator cancels the tasks that have not begun.
    """
    remaining = iter(items)
    tasks: deque[tuple[Item, Future[Result]]] = deque()
    error_at_end: Exception | None = None

    def submit_next() -> None:
        nonlocal error_at_end
        if error_at_end is not None:
            return
        try:
            for item in itertools.islice(remaining, 1):
                tasks.append((item, submit(item)))
        except Exception as error:
            error_at_end = error

    try:
        for _ in range(limit):
            submit_next()
        while tasks:
            item, task = tasks[0]
            task.exception()  # waits until the task is finished
            tasks.popleft()
            submit_next()
            yield item, task
        if error_at_end is not None:
            raise error_at_end
    finally:
        for _, task in tasks:
            task.cancel()


def grouped_until(items: Iterable[Item], is_full: Callable[[list[Item]], bool]) -> Generator[list[Item]]:
    """Group items into lists; the item with which a list `is_full` is its last one."""
    group: list[Item] = []
    try:
        for item in items:
            group.append(item)
            if is_full(group):
                yield group
                group = []
    except Exception:
        if group:
            yield group
        raise
    if group:
        yield group
