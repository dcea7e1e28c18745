"""Explanations of shipped models, and the files that are drawn of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from digitcli.architectures.registry import create_model
from digitcli.data.dataset import Digits
from digitcli.data.mnist import load_mnist
from digitcli.errors import ModelError, UsageError
from digitcli.inference.checkpoint import Header, write_checkpoint
from digitcli.interpretation import attribution
from digitcli.interpretation.activations import NO_MAPS
from digitcli.interpretation.attribution import COMPLETENESS, LEAST_LOGITS
from digitcli.interpretation.drawing import LEGEND, percent, pictures_of, save_explanations, title_of
from digitcli.interpretation.explain import explain
from digitcli.interpretation.explanation import Explanation
from tests.interpretation.test_attribution import QUICK


@pytest.fixture(scope="module")
def seven(digits: Digits) -> Explanation:
    (explanation,) = explain(
        "fast",
        [("seven", digits.images[0])],
        ["occlusion", "integrated-gradients", "prototype", "feature-maps", "filters"],
        change_to=1,
    )
    return explanation


def test_an_explanation_holds_the_answer_and_what_speaks_for_it(seven: Explanation) -> None:
    assert seven.digit == 7 and seven.runner_up != 7 and sum(seven.probabilities) == pytest.approx(1)
    pairs = [(each.method, each.against) for each in seven.attributions]
    methods = ["occlusion", "integrated-gradients"]
    assert pairs == [(method, against) for method in methods for against in (None, seven.runner_up)]
    assert all(each.values.shape == (28, 28) and each.digit == 7 for each in seven.attributions)
    for complete in seven.attributions[2:]:
        assert complete.values.sum() == pytest.approx(
            complete.score - complete.baseline, rel=COMPLETENESS, abs=LEAST_LOGITS
        )


def test_the_nearest_training_digits_are_sevens(seven: Explanation) -> None:
    assert [each.label for each in seven.neighbours] == [7, 7, 7]
    distances = [each.distance for each in seven.neighbours]
    assert distances == sorted(distances) and 0 < distances[0] < distances[-1] < 1
    training = load_mnist().train
    for each in seven.neighbours:
        assert training.labels[each.index] == 7 and np.array_equal(training.images[each.index], each.image)


def test_a_change_is_read_as_the_other_digit_and_one_to_itself_is_left_out(
    seven: Explanation, digits: Digits
) -> None:
    (change,) = seven.changes
    assert change.digit == 1 and change.before < 0.1 < change.after
    (again,) = explain("fast", [("changed", change.image)], [])
    assert again.digit == 1
    difference = change.image.astype(float) - seven.image
    assert change.added - change.erased == pytest.approx(difference.sum() / 255, abs=0.01)
    assert 0.3 < change.largest <= 1
    (itself,) = explain("fast", [("seven", digits.images[0])], [], change_to=7)
    assert itself.changes == () and itself.notes == ()


def test_layers_are_the_filters_and_then_the_maps_in_their_order(seven: Explanation) -> None:
    first, *maps = seven.layers
    assert first.kind == "filters" and first.maps.ndim == 3
    sides = [layer.maps.shape[1] for layer in maps]
    assert sides == sorted(sides, reverse=True) and len(maps) >= 4


def test_a_record_is_json_with_all_values(seven: Explanation) -> None:
    record = json.loads(json.dumps(seven.record()))
    assert record["digit"] == 7 and record["model"].startswith("fast@")
    assert np.shape(record["attributions"][0]["values"]) == (28, 28)
    assert np.shape(record["changes"][0]["image"]) == (28, 28)


def test_arrays_are_written_by_their_names(seven: Explanation, tmp_path: Path) -> None:
    save_explanations(tmp_path / "seven.npz", [seven])
    with np.load(tmp_path / "seven.npz") as arrays:
        assert np.array_equal(arrays["0/image"], seven.image)
        assert arrays["0/integrated-gradients/7"].shape == arrays["0/counterfactual/1"].shape == (28, 28)
        assert {name for name in arrays if "maps" in name} == {
            f"0/feature-maps/{layer.name}" for layer in seven.layers[1:]
        }


def test_each_map_of_a_single_layer_is_a_picture(digits: Digits) -> None:
    (explanation,) = explain("fast", [("seven", digits.images[0])], ["feature-maps"], layer="2")
    (layer,) = explanation.layers
    assert len(pictures_of(explanation)) == 1 + len(layer.maps)


@pytest.mark.parametrize("suffix", [".png", ".html"])
def test_explanations_are_drawn_in_a_file(seven: Explanation, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"seven{suffix}"
    save_explanations(target, [seven, seven])
    if suffix == ".png":
        with Image.open(target) as picture:
            assert picture.width > 1000 and picture.height > 1000
    else:
        text = target.read_text()
        assert text.count("<img ") == 2 * len(pictures_of(seven))
        assert title_of(seven) in text.replace("\N{NO-BREAK SPACE}", " ") and LEGEND in text
        assert "http" not in text


def test_a_change_is_shown_beside_what_was_changed(seven: Explanation) -> None:
    pictures, (change,) = pictures_of(seven), seven.changes
    place = [picture.description for picture in pictures].index("the added and the erased ink")
    changed = pictures[place - 1]
    assert changed.description == (
        f"now read as 1 ({percent(change.before)} → {percent(change.after)}; {change.added:.1f} pixels of "
        f"ink added, {change.erased:.1f} erased)"
    )
    assert (changed.pixels == change.image[:, :, None]).all()


def test_neighbours_and_layers_are_described_in_words(seven: Explanation) -> None:
    words = [picture.description for picture in pictures_of(seven)]
    nearest = seven.neighbours[0]
    assert f"training digit #{nearest.index}, a 7, distance {nearest.distance:.2f}" in words
    filters, layer = seven.layers[0], seven.layers[1]
    count, height, width = filters.maps.shape
    assert f"layer {filters.name}: {count} filters of {height}x{width}" in words
    count, height, width = layer.maps.shape
    assert f"layer {layer.name} ({layer.kind}): {count} maps of {height}x{width}" in words


def test_a_perceptron_has_no_feature_maps(digits: Digits, tmp_path: Path) -> None:
    path = tmp_path / "mlp.safetensors"
    write_checkpoint(path, Header(architecture="mlp", task="digit"), create_model("mlp").state_dict())
    (explanation,) = explain(path, [("seven", digits.images[0])], ["feature-maps"])
    assert explanation.notes == (NO_MAPS,) and explanation.layers == ()
    with pytest.raises(UsageError, match="no feature maps of a layer '2'") as caught:
        list(explain(path, [("seven", digits.images[0])], ["feature-maps"], layer="2"))
    assert caught.value.remedy.endswith("Leave --layer out.")


def test_what_cannot_be_computed_is_noted_and_costs_nothing_else(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribution, "QUADRATURES", QUICK)
    torch.manual_seed(0)
    header = Header(architecture="hog")
    weights = {name: 10 * tensor for name, tensor in create_model("hog").state_dict().items()}
    write_checkpoint(tmp_path / "hog.safetensors", header, weights)
    (explanation,) = explain(
        tmp_path / "hog.safetensors", [("seven", digits.images[0])], ["integrated-gradients", "occlusion"]
    )
    assert {each.method for each in explanation.attributions} == {"occlusion"}
    assert len(explanation.notes) == 1 and "do not add up" in explanation.notes[0]


def test_lines_are_explained_elsewhere() -> None:
    with pytest.raises(ModelError, match="lines, not single digits"):
        next(explain("reader", []))
