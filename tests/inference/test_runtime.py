"""Line crops of all widths go through a runtime in padded batches; probabilities of models are averaged."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from digitcli.data.dataset import Digits
from digitcli.errors import EnvironmentFault, ModelError
from digitcli.gap_format import COLUMNS
from digitcli.inference import model_resolution
from digitcli.inference.checkpoint import read_arrays
from digitcli.inference.ctc import best_path_places
from digitcli.inference.line_finding import FoundLine, find_lines
from digitcli.inference.model_resolution import resolve_model, shipped_models
from digitcli.inference.predictor import (
    load_classifier,
    load_gap_splitter,
    load_line_recognizer,
    load_page_finder,
)
from digitcli.inference.runtime import (
    QUANTIZED_LIST,
    count_columns,
    open_onnx_runtime,
    pad_lines,
    padded_width,
    read_quantized_graph,
    run_lines,
)
from digitcli.synthesis.scenes import scene_composer
from digitcli.training.line_task import kind_of
from tests.support.models import saved

COLUMN_PX = 4


class RecordingRuntime:
    """A runtime whose logits at a column are the mean ink of its pixels; it keeps the shapes of batches."""

    name, device = "recording", "cpu"

    def __init__(self, predicts_distances: bool = False) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.predicts_distances = predicts_distances

    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], ...]:
        self.shapes.append(images.shape)
        count, height, width = images.shape
        columns = images.reshape(count, height, width // COLUMN_PX, COLUMN_PX).mean(axis=(1, 3))
        logits = np.repeat(columns[:, :, None], 3, axis=2).astype(np.float32)  # N, T, 3
        return (logits, logits[:, :, :1] - 1) if self.predicts_distances else (logits,)


def crops(*widths: int) -> list[npt.NDArray[np.uint8]]:
    """Return line crops of these widths, each with ink of its own darkness."""
    return [np.full((40, width), 10 + index, np.uint8) for index, width in enumerate(widths)]


def test_each_crop_gets_its_own_columns_in_the_order_of_the_crops() -> None:
    widths = (64, 8, 200, 40, 60, 9)
    outputs = run_lines(RecordingRuntime(), crops(*widths))
    assert [len(output.logits) for output in outputs] == [16, 2, 50, 10, 15, 3]
    assert [float(output.logits[0, 0]) for output in outputs] == [10, 11, 12, 13, 14, 15]
    assert all(output.distances is None for output in outputs)


def test_crops_of_similar_width_are_computed_together_in_batches() -> None:
    runtime = RecordingRuntime()
    run_lines(runtime, crops(33, 64, 32, 50, 60), batch_size=3)
    assert sorted(runtime.shapes) == [(1, 40, 32), (1, 40, 64), (3, 40, 64)]


def test_the_output_of_a_crop_does_not_depend_on_the_other_crops() -> None:
    images = crops(50, 64, 40, 500)
    together = run_lines(RecordingRuntime(predicts_distances=True), images)
    for image, output in zip(images, together, strict=True):
        (alone,) = run_lines(RecordingRuntime(), [image])
        assert np.array_equal(alone.logits, output.logits) and output.distances is not None
        assert np.array_equal(output.distances, output.logits[:, :1] - 1)
    assert run_lines(RecordingRuntime(), []) == []


def test_lines_are_padded_by_paper_on_their_right() -> None:
    ink, strip = np.full((40, 33), 255, np.uint8), np.full((3, 40, 33), 9, np.uint8)
    assert padded_width(ink) == 64 and padded_width(ink, 16) == 48
    assert pad_lines([ink], 64)[0, :, 33:].max() == 0
    padded = pad_lines([strip, strip], 64)
    assert (
        padded.shape == (2, 3, 40, 64) and (padded[..., 33:] == 128).all() and (padded[..., :33] == 9).all()
    )
    assert count_columns(33, 64, 16) == 9


RUNTIMES = ("onnxruntime", "torch")
READING = ("reader", "glance", "finder")

# Lines of which nine tenths have to be read alike; of 1,000 it is 96 % for the worst network.
COUNT = 200


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_a_graph_gives_the_logits_of_its_network(name: str, digits: Digits) -> None:
    header = resolve_model(name).header
    random = np.random.default_rng(0)
    if header.task == "page":
        page = random.integers(0, 256, (4, 64, 96), np.uint8)
        maps = [load_page_finder(name, "cpu", runtime).maps(page) for runtime in RUNTIMES]
        np.testing.assert_allclose(*maps, atol=1e-4)
        return
    if header.task == "gaps":
        gaps = random.integers(0, 256, (1, 30, COLUMNS), np.uint8)
        shares = [load_gap_splitter(name, "cpu", runtime)(gaps) for runtime in RUNTIMES]
        np.testing.assert_allclose(*shares, atol=1e-5)
        return
    if header.task == "line":
        widths = 1, 4, 8, 33, 80, 88, 88, 200, 400
        lines = [random.integers(0, 256, (3, 40, width), np.uint8) for width in widths]
        answers = [load_line_recognizer(name, "cpu", runtime=runtime).outputs(lines) for runtime in RUNTIMES]
        for ours, theirs in zip(*answers, strict=True):
            np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-4)
            assert ours.distances is not None and theirs.distances is not None
            np.testing.assert_allclose(ours.distances, theirs.distances, atol=1e-4)
            assert (ours.prints is None) == (theirs.prints is None) == (name == "glance")
            if ours.prints is not None and theirs.prints is not None:
                np.testing.assert_allclose(ours.prints, theirs.prints, atol=1e-4)
        return
    ours, theirs = (load_classifier(name, device="cpu", runtime=runtime) for runtime in RUNTIMES)
    assert (ours.runtime, theirs.runtime) == RUNTIMES and ours.name == theirs.name
    images = digits.images[:100]
    np.testing.assert_allclose(ours.logits(images), theirs.logits(images), atol=1e-4)
    assert ours.logits(images[:0]).shape == (0, 10)


@pytest.mark.parametrize("name", READING[:2])
def test_a_quantized_network_reads_as_the_network_does(name: str, digits: Digits) -> None:
    header = resolve_model(name).header
    composer, random = scene_composer(digits, "calibrate"), np.random.default_rng(0)
    lines = [strip.image for strip in kind_of(header.architecture).compose(composer, random, COUNT)]
    texts = [
        [
            "".join(character for character, _, _ in best_path_places(answer.logits, header.alphabet))
            for answer in load_line_recognizer(name, "cpu", runtime=runtime).outputs(lines)
        ]
        for runtime in ("auto", "onnxruntime")
    ]
    assert np.mean([ours == theirs for ours, theirs in zip(*texts, strict=True)]) >= 0.9


@pytest.fixture(scope="module")
def lines_of_pages(digits: Digits) -> list[tuple[tuple[FoundLine, ...], ...]]:
    """The lines on eight pages that the quantized finder finds, and those that it finds with floats."""
    composer, random = scene_composer(digits, "calibrate"), np.random.default_rng(1)
    finders = [load_page_finder("finder", "cpu", runtime) for runtime in ("auto", "onnxruntime")]
    pages = [composer.page(random, 200, 300).picture for _ in range(8)]
    return [tuple(find_lines(page, finder.maps).lines for finder in finders) for page in pages]


def test_a_quantized_finder_finds_the_lines_that_the_finder_finds(
    lines_of_pages: list[tuple[tuple[FoundLine, ...], ...]],
) -> None:
    shares = [
        np.mean([any(line.box.overlap(other.box) > 0.5 for other in ours) for line in theirs])
        for ours, theirs in lines_of_pages
        if theirs
    ]
    assert len(shares) >= 6 and np.mean(shares) >= 0.9  # of the lines of a page


def test_a_quantized_finder_finds_hardly_more_lines(
    lines_of_pages: list[tuple[tuple[FoundLine, ...], ...]],
) -> None:
    more = [len(ours) - len(theirs) > 1 + len(theirs) // 10 for ours, theirs in lines_of_pages]
    assert sum(more) <= 1  # rounding may cut what floats take for one line, as large as a page


def test_a_quantized_graph_runs_only_the_weights_it_was_made_of_and_names_damage(tmp_path: Path) -> None:
    for name in READING:
        model = resolve_model(name)
        assert model.graph_path is not None
        assert read_quantized_graph(model.graph_path, read_arrays(model.path)[1]) is not None
    model = resolve_model("reader")
    assert model.graph_path is not None
    tensors = read_arrays(model.path)[1]
    for name in ("reader.int8.onnx", QUANTIZED_LIST):
        shutil.copy(model.graph_path.with_name(name), tmp_path)
    graph = tmp_path / "reader.int8.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in (content, content[:-100]):
        graph.write_bytes(damaged)
        with pytest.raises(ModelError, match="int8.onnx is damaged"):
            read_quantized_graph(tmp_path / "reader.onnx", tensors)
    tensors["classes.bias"] = tensors["classes.bias"] + 1
    assert read_quantized_graph(model.graph_path, tensors) is None
    assert read_quantized_graph(model.graph_path.with_name("cnn.onnx"), tensors) is None


def test_a_graph_that_does_not_fit_is_a_model_error_and_weights_are_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cnn = shipped_models()["cnn"]
    path, graph = tmp_path / "cnn.safetensors", cnn.with_suffix(".onnx").read_bytes()
    monkeypatch.setattr(model_resolution, "shipped_models", lambda: {"cnn": path})
    shutil.copy(cnn, path)
    for content in (graph[:-100], b"no graph"):
        path.with_suffix(".onnx").write_bytes(content)
        with pytest.raises(ModelError, match="does not fit"):
            open_onnx_runtime(resolve_model(path))
    path.with_suffix(".onnx").write_bytes(graph)
    saved(path, "softmax")
    model_resolution._shipped_by_digest.cache_clear()
    with pytest.raises(ModelError, match="does not fit"):
        open_onnx_runtime(resolve_model(path))
    damaged = bytearray(cnn.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    model_resolution._shipped_by_digest.cache_clear()
    with pytest.raises(ModelError, match="SHA-256"):
        load_classifier(str(path), device="cpu", runtime="onnxruntime")


def test_a_missing_onnxruntime_is_an_environment_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EnvironmentFault, match="cannot be loaded") as caught:
        open_onnx_runtime(resolve_model("cnn"))
    assert "--runtime torch" in caught.value.remedy
