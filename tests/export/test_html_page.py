"""HTML: a page that reads what is drawn or shown, as the package does, and requests nothing."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from digitcli.data.dataset import Digits
from digitcli.errors import EnvironmentFault
from digitcli.export import html_page as module
from digitcli.export.export import export
from digitcli.imaging.digits import normalize_digit
from tests.support.browser import CHROMIUM, PALE_TEXTS, Browser, browser
from tests.support.exports import model_of

with_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
SEVEN = [(60, 50), (220, 50), (120, 240)]  # points of the drawing area, which has 280 x 280 pixels
UNLABELLED = """[...document.querySelectorAll("canvas, button, input, section")].filter(element =>
  !(element.ariaLabel || element.textContent.trim() || element.labels?.length)).map(each => each.outerHTML)"""
LEVELS = 2  # grey levels of 255 by which two images may differ: OpenCV and JavaScript round in other places


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the shipped model `fast`, which was compared on 200 test digits."""
    path = tmp_path_factory.mktemp("page") / "fast.html"
    result = export("fast", "html", path)
    assert result.parity is not None and (result.parity.n, result.parity.different_answers) == (200, 0)
    assert result.parity.largest_difference < 1e-4
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def draw(tab: Browser, points: list[tuple[float, float]]) -> None:
    """Draw a line through points of the drawing area."""
    left, top, side = tab.evaluate("(box => [box.x, box.y, box.width])(paper.getBoundingClientRect())")
    tab.drag([(left + x * side / 280, top + y * side / 280) for x, y in points])


@with_browser
def test_a_drawn_stroke_gives_an_answer_and_the_page_stays_silent(page: Path, chromium: Browser) -> None:
    tab = chromium
    backgrounds = set()
    for width, scheme in ((400, "light"), (1200, "dark")):
        tab.look(width, scheme)
        tab.open(page.as_uri())
        assert tab.evaluate("answer.textContent") == "Draw a digit, or choose a picture."
        draw(tab, SEVEN)
        tab.wait_for("answer.textContent.startsWith('It reads 7')")
        assert tab.evaluate("document.querySelector('.best th').textContent") == "7"
        assert tab.evaluate("document.getElementById('bar-7').style.width").rstrip("%") > "5"
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        backgrounds.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert tab.evaluate(PALE_TEXTS) == []
        assert tab.evaluate(UNLABELLED) == []
        drawn = (
            "[...document.querySelectorAll('.maps')].filter(map => map.width > 1 && map.height > 1).length"
        )
        assert tab.evaluate(drawn) == 11, "a layer is not drawn"
        tab.press("Escape")
        tab.wait_for("answer.textContent.startsWith('Draw')")
        draw(tab, SEVEN)
        tab.wait_for("answer.textContent.startsWith('It reads')")
        tab.evaluate("document.getElementById('clear').click(); 0")
        tab.wait_for("answer.textContent.startsWith('Draw')")
        assert tab.complaints == [] and tab.requests == [page.as_uri()]
    assert len(backgrounds) == 2


@with_browser
def test_its_policy_forbids_other_scripts_and_requests(page: Path, chromium: Browser) -> None:
    text = page.read_text()
    hostile = page.with_name("hostile.html")
    hostile.write_text(text.replace("</body>", "<script>window.hostile = 1</script></body>"))
    chromium.open(hostile.as_uri())
    assert chromium.evaluate("typeof hostile") == "undefined" and chromium.complaints
    chromium.open(page.as_uri())
    script = "fetch('data:,x').then(() => 'sent', () => 'refused').then(text => window.outcome = text); 0"
    chromium.evaluate(script)
    assert chromium.wait_for("window.outcome") == "refused"


@with_browser
@pytest.mark.parametrize(
    ("name", "expected"),
    [("dark", "It reads 7"), ("light", "It reads 7"), ("blank", "There is no"), ("text", "is not a")],
)
def test_a_picture_is_read(page: Path, chromium: Browser, tmp_path: Path, name: str, expected: str) -> None:
    """Dark ink on shaded paper, light ink on dark ground, noisy paper, and a file that is no picture."""
    random = np.random.default_rng(0)
    paper = np.linspace(150, 230, 300)[None] + random.normal(0, 4, (400, 300))
    strokes = np.zeros((400, 300), np.uint8)
    cv2.polylines(strokes, [np.array(SEVEN) + 20], False, 255, 9, cv2.LINE_AA)
    picture = paper * (1 - 0.8 * strokes / 255) if name != "blank" else paper
    picture = 255 - picture if name == "light" else picture
    path = tmp_path / f"{name}.png"
    cv2.imwrite(str(path), picture.clip(0, 255).astype(np.uint8))
    if name == "text":
        path.write_text("no picture")
    chromium.open(page.as_uri())
    chromium.choose_file("#picture", path)
    chromium.wait_for("!answer.textContent.startsWith('Draw')")
    assert expected in chromium.evaluate("answer.textContent")
    assert chromium.complaints == []


@with_browser
def test_preprocessing_gives_the_images_of_the_package(page: Path, chromium: Browser, digits: Digits) -> None:
    random = np.random.default_rng(0)
    inks = [_resized(digits.images[number], *random.integers(4, 300, 2)) for number in range(40)]
    inks += [_drawn(random) for _ in range(20)]
    chromium.open(page.as_uri())
    draw(chromium, SEVEN)
    size, values = chromium.evaluate("(ink => [ink.width, [...ink.values]])(drawnInk())")
    inks.append(np.array(values, np.float32).reshape(size, size))
    for ink in inks:
        data = base64.b64encode(ink.tobytes()).decode()
        plane = f"plane({ink.shape[1]}, {ink.shape[0]}, new Float32Array(decodeBytes('{data}').buffer))"
        image = np.array(chromium.evaluate(f"[...normalizeDigit({plane})]"), int).reshape(28, 28)
        assert np.abs(image - normalize_digit(ink)).max() <= LEVELS
    assert chromium.evaluate("normalizeDigit(plane(9, 9))") is None


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return cv2.resize(image.astype(np.float32) / 255, (int(width), int(height)))


def _drawn(random: np.random.Generator) -> np.ndarray:
    ink = np.zeros((280, 280), np.uint8)
    points = random.integers(20, 260, (6, 2)).astype(np.int32)
    cv2.polylines(ink, [points], False, 255, int(random.integers(1, 40)), cv2.LINE_AA)
    return ink.astype(np.float32) / 255


@with_browser
@pytest.mark.parametrize("architecture", ["lenet1", "micro", "unusual"])
def test_every_kind_of_layer_is_computed(architecture: str, plugins: Callable[..., None]) -> None:
    plugins(unusual="tests.support.exports:unusual")
    result = export(model_of(architecture), "html")
    assert result.parity is not None and result.parity.largest_difference < 1e-4


def test_without_a_browser_only_an_unchecked_page_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    model = model_of("softmax")
    with pytest.raises(EnvironmentFault, match="no Chromium") as failure:
        export(model, "html")
    assert "--no-verify" in failure.value.remedy and not Path("softmax.html").exists()
    export(model, "html", verify=False)
    assert "not checked (--no-verify)" in Path("softmax.html").read_text()
    assert "http" not in Path("softmax.html").read_text().replace("http-equiv", "")
