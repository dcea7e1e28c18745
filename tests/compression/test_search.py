"""The steps of a compression as text, and the search for a goal, with made-up models."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from digitcli.compression.compress import search
from digitcli.compression.results import (
    BITS,
    CompressionResult,
    Goals,
    Speed,
    Step,
    TriedModel,
    join_steps,
    pareto_front,
    parse_steps,
)
from digitcli.errors import UsageError
from digitcli.events import ModelStarted


@dataclass
class FakeCompressor:
    """Makes models whose size and accuracy follow from the share of removed channels."""

    made: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    started: list[ModelStarted] = field(default_factory=list)
    can_prune: bool = True

    def on_event(self, event: Any) -> None:
        if isinstance(event, ModelStarted):
            self.started.append(event)
        elif not event.routine:
            self.notices.append(event.message)

    def bytes_of(self, steps: tuple[Step, ...]) -> int:
        bits = BITS.get(steps[-1].kind, 32) if steps else 32
        return round(12_500 * bits * (1 - self._share(steps)))

    def make(self, steps: tuple[Step, ...]) -> TriedModel:
        if self._share(steps) and not self.can_prune:
            raise UsageError("Channels cannot be removed.", "Leave prune out.")
        self.made.append(join_steps(steps))
        loss = 0.01 * self._share(steps) ** 2 + (0.0008 if steps and steps[-1].kind == "int4" else 0)
        accuracy, size = 0.99 - loss, self.bytes_of(steps)
        return TriedModel(join_steps(steps), "", accuracy, 0, 1, None, size, size, size, size)

    @staticmethod
    def _share(steps: tuple[Step, ...]) -> float:
        return next((step.share or 0.0 for step in steps if step.kind == "prune"), 0.0)


def chosen(compressor: FakeCompressor, **goals: Any) -> str | None:
    tried, index = search(compressor, Goals(**goals))  # type: ignore[arg-type]
    return None if index is None else tried[index].steps


def test_the_smallest_model_of_those_that_lose_little_is_chosen() -> None:
    compressor = FakeCompressor()
    # int4 loses 0.08 points without pruning, and int8 loses 0.04 with a fifth of the channels removed
    assert chosen(compressor, max_accuracy_loss=0.1) == "int4"
    int8 = [steps for steps in compressor.made if steps.endswith("int8")]
    assert int8 == ["int8", "prune=0.2,int8", "prune=0.4,int8"], "it goes on until too much is lost"
    assert [event.name for event in compressor.started] == compressor.made[1:]
    assert [event.number for event in compressor.started] == [*range(1, 8)]
    # at first 8 times int8 and 8 times int4, each with the same 7 prunings; int8 has ended after 3 of them
    assert [event.n for event in compressor.started] == [23] * 5 + [18] * 2
    assert all(event.is_most for event in compressor.started)


def test_the_most_accurate_model_of_a_size_is_chosen_after_two_trials() -> None:
    compressor = FakeCompressor()
    assert chosen(compressor, max_bytes=30_000) == "prune=0.4,int4"
    assert compressor.made == ["original", "prune=0.7", "prune=0.7,int8", "prune=0.4", "prune=0.4,int4"]
    assert compressor.started == [ModelStarted(name, k, 4) for k, name in enumerate(compressor.made) if k]


def test_both_goals_must_be_reached() -> None:
    assert chosen(FakeCompressor(), max_bytes=30_000, max_accuracy_loss=0.1) is None
    assert chosen(FakeCompressor(), max_bytes=30_000, max_accuracy_loss=0.3) == "prune=0.4,int4"
    assert chosen(FakeCompressor(), max_bytes=100, max_accuracy_loss=50) is None


def test_a_loss_at_the_limit_is_accepted() -> None:
    original = TriedModel("original", "", 0.9968, 0, 1, None, 9, 9, 9, 9)
    model = TriedModel("int8", "", 0.9958, 0, 1, None, 9, 9, 9, 9)
    assert Goals(max_accuracy_loss=0.1).reached_by(model, original)


def test_a_network_that_cannot_be_pruned_is_only_quantized() -> None:
    compressor = FakeCompressor(can_prune=False)
    assert chosen(compressor, max_accuracy_loss=1.0) == "int4"
    assert compressor.notices == [
        f"With {kind}: Channels cannot be removed. Leave prune out." for kind in ("int8", "int4")
    ]


@pytest.mark.parametrize(("sizes", "front"), [((9, 5, 5, 7), (2, 0)), ((1, 2, 3, 4), (0, 1, 2, 3))])
def test_no_model_on_the_front_is_beaten(sizes: tuple[int, ...], front: tuple[int, ...]) -> None:
    accuracies = (0.99, 0.95, 0.96, 0.96) if front == (2, 0) else (0.9, 0.91, 0.92, 0.93)
    tried = [
        TriedModel("", "", accuracy, 0, 1, None, size, 0, 0, 0)
        for size, accuracy in zip(sizes, accuracies, strict=True)
    ]
    assert pareto_front(tried) == front


def test_csv_has_the_same_columns_for_models_that_some_runtimes_do_not_take() -> None:
    models = [TriedModel(name, "", 0.9, 0, 1, None, 9, 9, 9, 9) for name in ("original", "fold")]
    fast = Speed("tflite", 0.01, 0.01, 0.02, 1000.0, 256)
    tried = (models[0], replace(models[1], speeds=(fast,)))
    result = CompressionResult("a@1", "f", None, Goals(), "digit", 50, tried, None, None, None)
    first, second = result.rows()
    assert list(first) == list(second) and "speeds" not in first
    assert (first["tflite_latency_ms_high"], second["tflite_latency_ms_high"]) == (None, 0.02)


def test_steps_have_a_form_as_text_and_come_back_from_it() -> None:
    steps = parse_steps(" distill=tiny, prune=0.50 ,fold,int4")
    assert steps == (
        Step("distill", arch="tiny"), Step("prune", 0.5), Step("fold"), Step("int4"),
    )  # fmt: skip
    assert join_steps(steps) == "distill=tiny,prune=0.5,fold,int4"
    assert parse_steps(join_steps(steps)) == steps and join_steps(()) == "original"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 steps are given"),
        ("prun=0.5", "There is no step 'prun'"),
        ("prune", "nothing is given"),
        ("prune=1", "more than 0 and less than 1; 1 is given"),
        ("prune=nan", "nan is given"),
        ("prune=half", "half is given"),
        ("low_rank=0.5", "There is no step 'low_rank'"),
        ("int8=4", "int8 takes no value"),
        ("int8,prune=0.5", "int8 comes before prune=0.5"),
        ("int4,int8", "int4 comes before int8"),
        ("int8,int8", "int8 comes before int8"),
        ("int5", "There is no step 'int5'"),
        ("fold,distill=tiny", "distill=tiny trains another network"),
        ("distill", "distill needs an architecture .*nothing is given"),
        ("distill=reader", "reader is given"),
        ("distill=tinny", "tinny"),
    ],
)
def test_mistakes_have_a_remedy(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_steps(text)
    assert caught.value.remedy
