from __future__ import annotations

from pathlib import Path

import pytest

from digitcli.comparison.specification import parse_specifications, plan_runs
from digitcli.errors import ModelError, UsageError
from digitcli.training.configuration import EPOCHS


def test_architectures_overrides_and_models_are_distinguished(tmp_path: Path) -> None:
    (tmp_path / "cnn").mkdir()  # does not hide the architecture
    plain, changed, shipped = parse_specifications(
        ["cnn", "cnn:augment=off,dropout=0,lr=1e-3", "shipped/cnn"], "mnist", "cpu"
    )
    assert plain.config is not None and plain.config.recipe == {}
    assert changed.config is not None
    assert changed.config.recipe == {"augment": False, "dropout": 0, "lr": 1e-3}
    assert shipped.config is None and shipped.model is not None and shipped.model.name == "cnn"
    timed = parse_specifications(["fast:time=2s,schedule=cosine"], "mnist", "cpu")[0].config
    assert timed is not None and (timed.time_seconds, timed.recipe) == (2.0, {"schedule": "cosine"})


def test_a_setting_that_takes_several_values_may_be_repeated_and_all_names_every_architecture() -> None:
    texts = ["tiny", "tiny:teacher=cnn,distillation_temperature=4,teacher=robust"]
    plain, taught = (each.config for each in parse_specifications(texts, "mnist", "cpu"))
    assert plain is not None and plain.teacher == ()
    assert taught is not None and taught.teacher == ("cnn", "robust")
    assert taught.recipe == {"distillation_temperature": 4}
    labels = {each.label for each in parse_specifications(["all"], "mnist", "cpu")}
    assert {"cnn", "softmax"} <= labels and "reader" not in labels


def test_fine_tuning_can_be_compared_with_training_from_scratch() -> None:
    texts = ["cnn", "cnn:from=cnn,freeze=2", "cnn:from=cnn,freeze=2,rehearse=0.3"]
    scratch, tuned, rehearsed = (each.config for each in parse_specifications(texts, "usps", "cpu"))
    assert scratch is not None and tuned is not None and rehearsed is not None
    assert scratch.start is None and scratch.recipe == {}
    assert (tuned.start, tuned.original, tuned.recipe["freeze"]) == ("cnn", "mnist", 2)
    assert tuned.recipe["epochs"] == EPOCHS and rehearsed.recipe["rehearse"] == 0.3


MISTAKES = [
    (["cmm"], ["cmm"]),
    (["cnn:epoch=3"], ["epoch"]),
    (["cnn:epochs"], ["epochs", "cnn"]),
    (["softmax:"], ["softmax:"]),
    (["cnn:lr=-1"], ["--lr", "-1"]),
    (["cnn:augment=maybe"], ["--augment"]),
    (["cnn:seed=3"], ["seed"]),
    (["cnn:patience=3"], ["patience"]),
    (["cnn:batch-size=3,batch_size=4"], ["batch_size", "twice"]),
    (["softmax:epochs=1,epochs=2"], ["epochs", "twice"]),
    (["digit_or_none:epochs=1"], ["digit_or_none", "shipped"]),
    (["digit_or_none", "shipped/digit_or_none"], ["twice"]),
    (["cnn", "cnn"], ["cnn", "twice"]),
    (["reader"], ["reader", "lines"]),
    (["shipped/reader"], ["shipped/reader", "lines"]),
    ([], ["nothing"]),
    (["sigmoid_mlp:dropout=0.1"], ["dropout"]),
    (["softmax", "cnn:pretrained=on"], ["pretrained"]),
    (["torchvision/resnet18:pretrained=on,initialization=he"], ["pretrained"]),
    (["fast:augment=off,elastic=1"], ["augment"]),
    (["tiny:teacher=reader"], ["reader", "lines"]),
    (["tiny:distillation_temperature=4"], ["--distillation-temperature", "--teacher"]),
    (["cnn:members=3"], ["cnn:members=3", "ensemble", "one network for each seed"]),
    (["fast:freeze=2"], ["--freeze", "random"]),
    (["fast:from=cnn"], ["--arch is fast", "cnn"]),
]


def test_a_mistake_is_a_usage_error_with_its_value() -> None:
    for texts, words in MISTAKES:
        with pytest.raises(UsageError) as caught:
            parse_specifications(texts, "mnist", "cpu")
        assert all(word in caught.value.cause for word in words), (texts, caught.value.cause)
    for text in ("shipped/none", "none.safetensors", "runs/none", "tiny:teacher=none", "softmax:from=7"):
        with pytest.raises(ModelError):
            parse_specifications([text], "mnist", "cpu")


def test_runs_are_planned_seed_by_seed() -> None:
    parsed = parse_specifications(["softmax", "shipped/cnn", "mlp"], "mnist", "cpu")
    planned = [(each.label, seed) for each, seed in plan_runs(parsed, 2)]
    assert planned == [("softmax", 0), ("shipped/cnn", None), ("mlp", 0), ("softmax", 1), ("mlp", 1)]


def test_two_names_of_one_recipe_are_refused() -> None:
    with pytest.raises(UsageError, match="softmax and softmax:augment=off have the same recipe"):
        parse_specifications(["softmax", "cnn", "softmax:augment=off"], "mnist", "cpu")
    assert len(parse_specifications(["softmax", "softmax:augment=on"], "mnist", "cpu")) == 2
