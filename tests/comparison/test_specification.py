"""The arguments of `compare` and `tune`: architectures, changes of their recipes, models, and ranges."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.trial import FixedTrial

from digitcli.architectures.registry import architectures, resolve_recipe
from digitcli.comparison.specification import (
    DEFAULT_SETTINGS,
    USUAL,
    SearchRange,
    parse_ranges,
    parse_specifications,
    plan_runs,
)
from digitcli.errors import ModelError, UsageError
from digitcli.training.configuration import EPOCHS, TrainConfig
from tests.support.training import fine_tuning


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


def test_every_architecture_has_usual_ranges_and_each_is_allowed() -> None:
    for name in (name for name, row in architectures().items() if row.task == "digit"):
        names = [each.setting for each in parse_ranges((), TrainConfig(arch=name))]
        assert names[:4] == list(DEFAULT_SETTINGS[:4])
        assert names[4:] == ["dropout"] * (resolve_recipe(name).dropout is not None)
    for name in USUAL:
        arch = "wide_resnet" if name in ("dropout", "stochastic_depth") else "softmax"
        recipe = {"optimizer": "sgd"} if name == "momentum" else {"augment": True}
        assert parse_ranges((name,), TrainConfig(arch=arch, recipe=recipe))[0].setting == name


def test_ranges_of_numbers_choices_and_switches() -> None:
    texts = ("lr=1e-4..1e-2", "batch-size=16..512", "optimizer", "augment", "warmup=0..0.2", "beta2=0.9,0.99")
    assert parse_ranges(texts, TrainConfig(arch="mlp")) == (
        SearchRange("lr", low=1e-4, high=1e-2),
        SearchRange("batch_size", low=16, high=512, is_integer=True),
        SearchRange("optimizer", ("sgd", "adam", "adamw", "muon")),
        SearchRange("augment", (True, False)),
        SearchRange("warmup", low=0, high=0.2),
        SearchRange("beta2", (0.9, 0.99)),
    )


def test_wide_ranges_are_logarithmic_and_values_have_as_many_digits_as_tell_them_apart() -> None:
    wide, warmup = SearchRange("lr", low=1e-4, high=1e-2), SearchRange("warmup", low=0.1, high=0.3)
    assert wide.is_logarithmic and not warmup.is_logarithmic
    assert wide.suggest(FixedTrial({"lr": 0.00123456})) == 0.00123
    whole = SearchRange("batch_size", low=4, high=64, is_integer=True)
    assert whole.suggest(FixedTrial({"batch_size": 7})) == 7
    narrow = SearchRange("beta2", low=0.99, high=0.9999)
    assert narrow.suggest(FixedTrial({"beta2": 0.9968})) == 0.9968
    assert narrow.suggest(FixedTrial({"beta2": 0.999899})) == 0.9999
    assert SearchRange("lr", low=0.0012345, high=1.0).suggest(FixedTrial({"lr": 0.0012346})) == 0.0012345


def test_impossible_ranges_are_refused() -> None:
    config = TrainConfig(arch="softmax", recipe={"weight_decay": 0.1})
    for text, message in {
        "lrr": "There is no setting 'lrr'",
        "lr lr=1e-3..1e-2": "names lr twice",
        "lr=1e-2..1e-3": "is empty",
        "lr=0.1": "has one value",
        "lr=-1..1": "--lr is -1",
        "warmup=0..2": "--warmup is 2",
        "lr=low..high": "is no range of numbers",
        "lr=0..inf": "is no range of numbers",
        "optimizer=1..2": "is no range of numbers",
        "optimizer=adamw,adan": "--optimizer is 'adan'",
        "epochs=1..30": "would reward long trainings",
        "synthetic": "needs its values",
        "loss": "There is no setting .loss.",
        "weight_decay": "both fixed and varied",
        "dropout": "dropout",
        "elastic=0..2": "has no effect without --augment",
    }.items():
        with pytest.raises(UsageError, match=message):
            parse_ranges(text.split(), config)


def test_what_follows_from_a_start_model_is_not_fixed() -> None:
    config = fine_tuning("fast", data="mnist", recipe={"batch_size": 64})
    ranges = parse_ranges((), config)
    assert [each.setting for each in ranges] == ["lr", "weight_decay", "warmup"]
    assert (ranges[0].low, ranges[0].high) == pytest.approx(
        (config.recipe["lr"] / 10, config.recipe["lr"] * 10)
    )
    with pytest.raises(UsageError, match="both fixed and varied"):
        parse_ranges(("lr",), fine_tuning("fast", recipe={"lr": 0.001}))
