"""The ranges in which settings are searched."""

from __future__ import annotations

import pytest
from optuna.trial import FixedTrial

from digitcli.architectures.registry import architectures, resolve_recipe
from digitcli.comparison.specification import DEFAULT_SETTINGS, USUAL, SearchRange, parse_ranges
from digitcli.errors import UsageError
from digitcli.training.configuration import TrainConfig
from tests.support.training import fine_tuning


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
