"""A guarantee gives the threshold of a reader only where it holds, and a note says where it does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from digitcli.inference.checkpoint import Guarantee, Header
from digitcli.inference.model_resolution import ResolvedModel, resolve_model, resolve_models
from digitcli.recognition.models import complete_models
from digitcli.recognition.readings import DEFAULT_MAX_ERROR
from digitcli.recognition.thresholds import Thresholds, find_thresholds


def model(name: str, task: str = "digit", guarantee: Guarantee | None = None) -> ResolvedModel:
    header = Header(architecture=name, task=task, guarantee=guarantee, refusal_threshold=0.25)
    return ResolvedModel(name, Path(name), header, f"sha of {name}", None)


def guaranteed(*companions: str) -> ResolvedModel:
    """Return a model with the guarantee that from 0.9 on at most 1 % of the answers are wrong."""
    digests = tuple(f"sha of {name}" for name in companions)
    guarantee = Guarantee(
        max_error=0.01, confidence=0.95, threshold=0.9, answered=400, wrong=0, p_value=0.02, copy_of="",
        companions=digests,
    )  # fmt: skip
    return model("mine", "line", guarantee)


def test_a_guarantee_holds_for_its_error_and_for_larger_ones() -> None:
    models = [model("b"), guaranteed("a", "b"), model("a")]
    for max_error in (0.01, 0.05, None):
        found = find_thresholds(models, max_error)
        assert (found.alone, found.page, found.note, found.is_guaranteed) == (0.9, 0.9, None, True)
    assert found.describe() == (
        "Numbers with a confidence below 0.9 are refused: mine guarantees that at most 1 % of the answers "
        "are wrong, at a confidence level of 95 %, in pictures of one number from the same source as those "
        "of the calibration."
    )
    found = find_thresholds([model("a")], None)
    assert found == Thresholds(0.25, 0.25, "this is the default threshold of the models")


def test_a_guarantee_does_not_hold_for_smaller_errors_other_models_or_with_constraints() -> None:
    found = find_thresholds([guaranteed()], 0.005)
    assert (found.alone, found.page) == (1.0, 1.0)
    assert found.note is not None and "calibrated for --max-error 0.01" in found.note
    for companions in ((), ("a",), ("a", "a"), ("a", "b", "c")):
        for max_error in (0.01, None):
            found = find_thresholds([guaranteed(*companions), model("a"), model("b")], max_error)
            assert (found.alone, found.page, found.is_guaranteed) == (0.99, 0.99, False)
            assert found.note is not None and "together with other models" in found.note
            assert "0.99" in found.note
    found = find_thresholds([guaranteed()], 0.01, is_plain=False)
    assert found.alone == 0.9 and found.note is not None and "without constraints" in found.note


def test_shipped_models_have_measured_thresholds_and_others_have_none() -> None:
    shipped = find_thresholds(complete_models([]), 0.01)
    assert shipped.note is None and shipped.alone != shipped.page
    assert min(shipped.alone, shipped.page) > 0.5 and max(shipped.alone, shipped.page) < 1
    assert "beside other numbers" in shipped.describe() and "synthetic" in shipped.describe()
    by_path = complete_models(resolve_models([str(resolve_model("reader").path)]))
    assert find_thresholds(by_path, 0.01) == shipped
    other = find_thresholds(resolve_models(["cnn"]), 0.02)
    assert (other.alone, other.page) == (0.98, 0.98) and "not measured" in other.describe()
    assert other.note == (
        "--max-error is calibrated for the default models only. With these models it refuses every answer "
        "with a confidence below 0.98."
    )


def test_by_default_the_shipped_models_keep_a_share_of_errors_and_others_a_threshold() -> None:
    shipped = complete_models([])
    assert find_thresholds(shipped, None) == find_thresholds(shipped, DEFAULT_MAX_ERROR)
    assert (
        f"at most {100 * DEFAULT_MAX_ERROR:g} % of the answers" in find_thresholds(shipped, None).describe()
    )
    cnn = find_thresholds(resolve_models(["cnn"]), None)
    assert (cnn.alone, cnn.page, cnn.note) == (0.5, 0.5, None)


def test_errors_were_not_measured_beside_another_model_for_easy_pictures() -> None:
    *others, first, grouper = complete_models([])
    others.append(grouper)
    assert find_thresholds(others, 0.01).note is None
    mine = dataclasses.replace(first, name="mine.safetensors", sha256="of mine", shipped_as=None)
    assert find_thresholds([*others, mine], 0.01).note is not None


def adapted(*companions: str, risk: float | None = 0.7) -> ResolvedModel:
    """Return a model whose risk was measured beside other models."""
    digests = tuple(f"sha of {name}" for name in companions)
    table = {} if risk is None else {"0.05": risk}
    header = Header(architecture="mine", task="line", risk=table, risk_companions=digests)
    return ResolvedModel("mine", Path("mine"), header, "sha of mine", None)


def test_a_risk_that_was_measured_with_these_models_counts_for_both_ways() -> None:
    found = find_thresholds([model("b"), adapted("a", "b"), model("a")], 0.05)
    assert (found.alone, found.page, found.note) == (0.7, 0.7, None)
    assert found.describe() == (
        "Numbers with a confidence below 0.7 are refused: above that, at most 5 % of the answers to the "
        "held-out pictures of the adaptation were wrong."
    )


def test_a_share_of_errors_that_an_adaptation_has_not_shown_refuses_nearly_everything() -> None:
    for risk, max_error in ((0.7, 0.01), (None, 0.05), (1.0, 0.05)):
        found = find_thresholds([adapted("a", risk=risk), model("a")], max_error)
        assert (found.alone, found.page) == (1.0, 1.0) and "has not shown" in found.describe()
        assert found.note is not None and "nearly every answer is refused" in found.note
    for others in (["a"], ["a", "b", "c"], []):  # measured with other models
        found = find_thresholds([adapted("a", "b"), *map(model, others)], 0.05)
        assert (found.alone, found.page) == (0.95, 0.95) and found.note is not None


def with_risk(model: ResolvedModel, risk: dict[str, float], page_risk: dict[str, float]) -> ResolvedModel:
    header = dataclasses.replace(model.header, risk=risk, page_risk=page_risk)
    return dataclasses.replace(model, header=header)


def test_a_share_of_errors_that_no_threshold_reaches_has_a_note() -> None:
    models = complete_models([])
    assert find_thresholds(models, 0.01).note is None
    risk = {"0.002": 0.99, "0.01": 0.9}
    changed = [with_risk(model, risk, {"0.01": 0.9}) for model in models]
    note = find_thresholds(changed, 0.002).note
    assert note is not None and "nearly every answer is refused there" in note
    assert "no lower threshold is known" in find_thresholds(models, 1e-6).describe()
    note = find_thresholds(models, 1e-6).note
    assert note is not None and "nearly every answer is refused." in note
