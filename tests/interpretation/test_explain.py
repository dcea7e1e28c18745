"""Explanations of single digits by shipped models, and the files that are drawn of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from digitcli.architectures.registry import create_model
from digitcli.data.dataset import Digits
from digitcli.data.mnist import load_mnist
from digitcli.errors import ModelError
from digitcli.inference.checkpoint import Header, write_checkpoint
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import load_model
from digitcli.interpretation import activations, attribution
from digitcli.interpretation.activations import NO_MAPS, SEARCHED, NeighbourSearch
from digitcli.interpretation.attribution import COMPLETENESS, LEAST_LOGITS, counterfactual
from digitcli.interpretation.drawing import LEGEND, pictures_of, save_explanations, title_of
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


def test_an_explanation_holds_the_answer_what_speaks_for_it_and_the_layers(seven: Explanation) -> None:
    assert seven.digit == 7 and seven.runner_up != 7 and sum(seven.probabilities) == pytest.approx(1)
    pairs = [(each.method, each.against) for each in seven.attributions]
    methods = ["occlusion", "integrated-gradients"]
    assert pairs == [(method, against) for method in methods for against in (None, seven.runner_up)]
    assert all(each.values.shape == (28, 28) and each.digit == 7 for each in seven.attributions)
    for complete in seven.attributions[2:]:
        assert complete.values.sum() == pytest.approx(
            complete.score - complete.baseline, rel=COMPLETENESS, abs=LEAST_LOGITS
        )
    first, *maps = seven.layers
    assert first.kind == "filters" and first.maps.ndim == 3
    sides = [layer.maps.shape[1] for layer in maps]
    assert sides == sorted(sides, reverse=True) and len(maps) >= 4
    record = json.loads(json.dumps(seven.record()))
    assert record["digit"] == 7 and record["model"].startswith("fast@")
    assert (
        np.shape(record["attributions"][0]["values"]) == np.shape(record["changes"][0]["image"]) == (28, 28)
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
    assert itself.changes == () and itself.notes == ("It is read as 7 already.",)


def test_a_seven_becomes_another_digit_by_little_ink_where_that_is_possible(images: Tensor) -> None:
    network, image = load_model("fast"), images[:1]
    changed = counterfactual(network, image, 9)
    assert changed is not None and int(network(changed).argmax()) == 9
    assert torch.allclose(255 * changed, (255 * changed).round(), atol=1e-4)  # it is stored in grey levels
    assert changed.min() >= 0 and changed.max() <= 1
    assert (changed - image).abs().sum() < 0.5 * image.sum()

    class Sure(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return torch.eye(10)[7].expand(len(batch), 10) + 0 * batch.sum()

    assert counterfactual(Sure(), image, 3) is None


def test_features_are_stored_once_and_replaced_if_they_are_damaged(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGITCLI_CACHE", str(tmp_path))
    network, fast = load_model("fast"), resolve_model("fast")
    first = NeighbourSearch(network, fast).nearest(digits.images[0])
    (stored,) = (tmp_path / "features").iterdir()
    right = stored.read_bytes()
    with np.load(stored) as arrays:
        few = {name: values[: SEARCHED - 1] for name, values in arrays.items()}
    for content in (b"", b"PK broken", b"no archive", few):
        stored.write_bytes(content) if isinstance(content, bytes) else np.savez(stored, **content)
        assert NeighbourSearch(network, fast).nearest(digits.images[0])[0].label == 7
        assert stored.read_bytes() == right
    with monkeypatch.context() as patch:
        patch.setattr(activations, "load_mnist", None)  # it would fail
        second = NeighbourSearch(network, fast).nearest(digits.images[0])
    assert [(each.index, each.distance) for each in first] == [(each.index, each.distance) for each in second]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIGITCLI_CACHE", str(tmp_path / "file"))  # which cannot hold a folder
    assert NeighbourSearch(network, fast).nearest(digits.images[0])[0].label == 7


def test_explanations_are_drawn_in_each_kind_of_file(seven: Explanation, tmp_path: Path) -> None:
    for suffix in (".png", ".html", ".npz"):
        save_explanations(tmp_path / f"seven{suffix}", [seven, seven])
    with Image.open(tmp_path / "seven.png") as picture:
        assert picture.width > 1000 and picture.height > 1000
    text = (tmp_path / "seven.html").read_text()
    assert text.count("<img ") == 2 * len(pictures_of(seven)) and "http" not in text
    assert title_of(seven) in text.replace("\N{NO-BREAK SPACE}", " ") and LEGEND in text
    with np.load(tmp_path / "seven.npz") as arrays:
        assert np.array_equal(arrays["0/image"], seven.image)
        assert arrays["0/integrated-gradients/7"].shape == arrays["1/counterfactual/1"].shape == (28, 28)
        maps = {f"0/feature-maps/{layer.name}" for layer in seven.layers[1:]}
        assert {name for name in arrays if name.startswith("0/feature-maps")} == maps


def test_what_cannot_be_computed_is_noted_and_costs_nothing_else(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribution, "QUADRATURES", QUICK)
    torch.manual_seed(0)
    found = {}
    for arch, method in (("hog", "integrated-gradients"), ("mlp", "feature-maps")):
        weights = {name: 10 * tensor for name, tensor in create_model(arch).state_dict().items()}
        path = tmp_path / f"{arch}.safetensors"
        write_checkpoint(path, Header(architecture=arch, task="digit"), weights)
        (found[arch],) = explain(path, [("seven", digits.images[0])], [method, "occlusion"])  # type: ignore[list-item]
        assert {each.method for each in found[arch].attributions} == {"occlusion"}
    assert len(found["hog"].notes) == 1 and "do not add up" in found["hog"].notes[0]
    assert found["mlp"].notes == (NO_MAPS,) and found["mlp"].layers == ()
    with pytest.raises(ModelError, match="lines, not single digits"):
        next(explain("reader", []))
