"""The steps of a compression as text, and whole compressions: what is written, found again and refused."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digitcli.compression import compress as module
from digitcli.compression.compress import compress
from digitcli.compression.steps import CompressionResult, Step, join_steps, parse_steps
from digitcli.data.dataset import split
from digitcli.data.loading import load_dataset
from digitcli.errors import Interrupted, ModelError, OutputError, UsageError
from digitcli.evaluation.evaluate import EvaluationResult, evaluate
from digitcli.events import Event, ModelStarted
from digitcli.inference.checkpoint import read_header, recipes_of
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import open_network
from digitcli.training import configuration, line_task
from digitcli.training.setup import count_parameters

FOLDER = Path("small")
RESULTS = ("model.safetensors", "compression.json")


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train for few steps."""
    monkeypatch.setattr(configuration, "MIN_EPOCH_STEPS", 10)
    monkeypatch.setattr(module, "BATCHES", 3)
    monkeypatch.setattr(line_task, "STRIPS", dataclasses.replace(line_task.STRIPS, validation=20, test=40))


def run(data: Path, steps: str, model: str = "micro", epochs: int = 0, **options: Any) -> CompressionResult:
    return compress(
        model, parse_steps(steps), **{"data": str(data), "epochs": epochs, "folder": FOLDER, **options}
    )


def test_each_step_is_measured_and_the_last_one_becomes_the_model(other_digits: Path) -> None:
    pytest.importorskip("torch_pruning")
    result = run(other_digits, "prune=0.5,int4", "fast", epochs=1)
    assert [each.steps for each in result.tried] == ["original", "prune=0.5", "prune=0.5,int4"]
    sizes = [each.weights_bytes for each in result.tried]
    assert sizes[1] < 0.4 * sizes[0] and sizes[2] < 0.35 * sizes[1]
    assert result.tried[2].parameters < result.tried[0].parameters / 3
    assert result.chosen == 2 and result.n == 43 and result.tried[1].accuracy > 0.5
    model = resolve_model(FOLDER)
    assert model.id.startswith("small-pruned-int4@")
    assert model.header.start["model"] == result.model == resolve_model("fast").id
    assert recipes_of(model.header)[1:] == recipes_of(resolve_model("fast").header)
    assert result.test is not None and model.header.metrics["test_accuracy"] == result.test.accuracy
    assert count_parameters(open_network(model)) == result.tried[2].parameters
    assert json.loads((FOLDER / "compression.json").read_text()) == json.loads(json.dumps(result.record()))
    teacher = read_header(FOLDER / "steps/prune=0.5/model.safetensors").teacher
    assert list(teacher) == [resolve_model("fast").id]
    changed = {path: path.stat().st_mtime_ns for path in FOLDER.glob("steps/*/*.safetensors")}
    again = run(other_digits, "prune=0.5,fold", "fast", epochs=1, force=True)
    assert again.tried[:2] == result.tried[:2]
    assert all(path.stat().st_mtime_ns == time for path, time in changed.items()), "made a second time"


def test_an_interrupted_training_goes_on(other_digits: Path) -> None:
    signals = iter([None] * 5 + [signal.SIGINT] * 5)
    with pytest.raises(Interrupted) as stopped:
        run(other_digits, "int4", epochs=1, stop_signal=signals.__next__)
    assert stopped.value.remedy == "The same command continues with the finished models."
    begun = FOLDER / "steps/int4/untrained.safetensors"
    time = begun.stat().st_mtime_ns
    events: list[Event] = []
    result = run(other_digits, "int4", epochs=1, on_event=events.append)
    assert result.tried[1].steps == "int4" and begun.stat().st_mtime_ns == time
    assert [event for event in events if isinstance(event, ModelStarted)] == [ModelStarted("int4", 1, 1)]


def test_a_signal_stops_between_two_models_and_spares_a_finished_result(other_digits: Path) -> None:
    signals = iter([None, None, signal.SIGTERM, signal.SIGTERM])
    with pytest.raises(Interrupted) as stopped:
        run(other_digits, "fold,int8", stop_signal=signals.__next__)
    assert stopped.value.exit_code == 128 + signal.SIGTERM and not (FOLDER / "model.safetensors").exists()
    with pytest.raises(ModelError, match="holds no model.safetensors") as caught:
        resolve_model(FOLDER)
    assert "run the same `digitcli compress` again" in caught.value.remedy
    run(other_digits, "int8")
    kept = {name: (FOLDER / name).read_bytes() for name in RESULTS}
    for epochs in (0, 2):  # with the finished steps, and with those of another compression
        signals = iter([None, None, signal.SIGINT, signal.SIGINT])
        with pytest.raises(Interrupted):
            run(other_digits, "fold,int8", epochs=epochs, force=True, stop_signal=signals.__next__)
        assert {name: (FOLDER / name).read_bytes() for name in RESULTS} == kept


def test_what_a_killed_process_has_left_is_removed(other_digits: Path) -> None:
    run(other_digits, "fold")
    names = (*RESULTS, "steps/fold/untrained.safetensors")
    left = [(FOLDER / name).with_name(f".{Path(name).name}.k3j.part") for name in names]
    of_others = FOLDER / ".thesis.tex.k3j.part"
    for path in (*left, of_others):
        path.touch()
    run(other_digits, "fold")
    assert [path.exists() for path in (*left, of_others)] == [False, False, False, True]


def test_another_compression_needs_force_and_files_of_others_stay(
    other_digits: Path, few_digits: Path, tmp_path: Path
) -> None:
    data = tmp_path / "d.npz"
    data.write_bytes(other_digits.read_bytes())
    run(data, "int8")
    kept = {name: (FOLDER / name).read_bytes() for name in RESULTS}
    for steps in ("fold", "fold,int8"):
        with pytest.raises(OutputError, match=r"finished result of a compression with --steps int8\.$") as no:
            run(data, steps)
        assert no.value.exit_code == 7 and "--output" in no.value.remedy and "--force" in no.value.remedy
    with pytest.raises(OutputError, match=r"was started with another model\.$"):
        run(data, "int8", model="tiny")
    with pytest.raises(OutputError, match=r"--epochs \(0, now 2\)\.$"):
        run(data, "int8", epochs=2)
    assert {name: (FOLDER / name).read_bytes() for name in RESULTS} == kept
    step = FOLDER / "steps/int8/untrained.safetensors"
    time = step.stat().st_mtime_ns
    run(data, "fold", force=True)
    assert resolve_model(FOLDER).header.weight_bits is None and step.stat().st_mtime_ns == time
    data.write_bytes(few_digits.read_bytes())
    with pytest.raises(OutputError, match="with another content of --data"):
        run(data, "fold")
    for folder in (FOLDER, FOLDER / "steps"):
        (folder / "mine.txt").write_text("kept")
    run(data, "fold", force=True)
    assert not step.exists()
    assert (FOLDER / "mine.txt").read_text() == (FOLDER / "steps/mine.txt").read_text() == "kept"
    (FOLDER / "settings.json").write_text('{"of": "another program"}')
    with pytest.raises(OutputError, match="holds other files"):
        run(data, "int8", force=True)
    assert (FOLDER / "steps/fold").exists()


def test_only_folders_of_a_compression_are_taken(other_digits: Path) -> None:
    FOLDER.mkdir()
    for name in (".lock", ".settings.json.k3j.part"):  # a compression that was only begun
        (FOLDER / name).touch()
    assert run(other_digits, "fold").chosen == 1 and not (FOLDER / ".settings.json.k3j.part").exists()
    with pytest.raises(OutputError, match="lies in the folder small"):
        run(other_digits, "int8", str(FOLDER), force=True)
    assert (FOLDER / "model.safetensors").exists()
    other = Path("other")
    other.mkdir()
    (other / "notes.txt").write_text("kept")
    for force in (False, True):
        with pytest.raises(OutputError, match="holds other files .*, for example notes.txt"):
            run(other_digits, "int8", folder=other, force=force)
    assert [path.name for path in other.iterdir()] == ["notes.txt"]


def test_integers_cannot_be_compressed_again_and_without_epochs_nothing_is_trained(
    other_digits: Path,
) -> None:
    assert run(other_digits, "int4").tried[1].accuracy > 0.8
    assert not list(FOLDER.glob("steps/*/config.json"))
    with pytest.raises(UsageError, match="integers already"):
        compress(str(FOLDER), parse_steps("int8"), folder=Path("second"))


def test_a_reader_of_lines_can_be_quantized(monkeypatch: pytest.MonkeyPatch) -> None:
    few = dataclasses.replace(line_task.STRIPS, validation=40, pool_batches=4)
    monkeypatch.setattr(line_task, "STRIPS", few)
    result = compress("reader", parse_steps("int4"), epochs=0, folder=FOLDER)
    original, small = result.tried
    assert small.weights_bytes < 0.3 * original.weights_bytes and result.unit == "line"
    assert small.accuracy > 0.5 and result.test is None
    before, header = resolve_model("reader").header, resolve_model(FOLDER).header
    assert header.alphabet == before.alphabet
    # What was measured about the original is not claimed of the result.
    assert before.risk and not header.risk and not header.risk_companions


def test_all_models_are_tested_on_the_same_digits(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the dataset has no test digits, and the original was not trained on it."""
    with np.load(few_digits) as content:
        np.savez(tmp_path / "d.npz", images=content["images"], labels=content["labels"])
    tested: list[int] = []

    def counting(*arguments: Any, **options: Any) -> EvaluationResult:
        result = evaluate(*arguments, **options)
        tested.extend([result.n] * (options["split"] == "test"))
        return result

    monkeypatch.setattr(module, "evaluate", counting)
    run(tmp_path / "d.npz", "int8")
    dataset = split(load_dataset(str(tmp_path / "d.npz")))
    assert tested == [len(dataset.test)] * 2 and len(dataset.test) < len(dataset.train)


def test_steps_have_a_form_as_text_and_come_back_from_it() -> None:
    steps = parse_steps(" prune=0.50 ,fold,int4")
    assert steps == (Step("prune", 0.5), Step("fold"), Step("int4"))
    assert join_steps(steps) == "prune=0.5,fold,int4"
    assert parse_steps(join_steps(steps)) == steps and join_steps(()) == "original"


def test_mistakes_in_steps_have_a_remedy() -> None:
    for text, message in {
        "": "--steps names 0 steps",
        "prun=0.5": "There is no step 'prun'",
        "prune": "nothing is given",
        "prune=1": "more than 0 and less than 1; 1 is given",
        "prune=nan": "nan is given",
        "prune=half": "half is given",
        "int8=4": "int8 takes no value",
        "int8,prune=0.5": "int8 comes before prune=0.5",
        "int4,int8": "int4 comes before int8",
    }.items():
        with pytest.raises(UsageError, match=message) as caught:
            parse_steps(text)
        assert caught.value.remedy, text
