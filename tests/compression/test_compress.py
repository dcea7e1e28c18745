"""Whole compressions of a small model: what is written, found again, chosen and refused."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from digitcli.compression import compress as module
from digitcli.compression import compressor
from digitcli.compression.compress import compress
from digitcli.compression.compressor import CompressionConfig, Compressor
from digitcli.compression.results import CompressionResult, parse_steps
from digitcli.data.dataset import split
from digitcli.data.loading import load_dataset
from digitcli.errors import Interrupted, ModelError, OutputError, UsageError
from digitcli.evaluation.evaluate import EvaluationResult, evaluate
from digitcli.events import Event, ModelStarted
from digitcli.inference.checkpoint import read_header, recipes_of
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import open_network
from digitcli.training import transfer
from digitcli.training.network import count_parameters
from tests.support.models import saved

FOLDER = Path("small")
RESULTS = ("model.safetensors", "compression.json", "pareto.svg")


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no speed, and train for few steps."""
    monkeypatch.setattr(Compressor, "measure_speeds", lambda compressor, tried, export_graph: list(tried))
    monkeypatch.setattr(transfer, "MIN_EPOCH_STEPS", 10)
    monkeypatch.setattr(compressor, "BATCHES", 3)


def run(data: Path, steps: str = "", model: str = "fast", **options: Any) -> CompressionResult:
    config = CompressionConfig(model=model, data=str(data), epochs=options.pop("epochs", 1))
    return compress(config, parse_steps(steps) if steps else (), folder=FOLDER, **options)


def test_each_step_is_measured_and_the_last_one_becomes_the_model(other_digits: Path) -> None:
    pytest.importorskip("torch_pruning")
    result = run(other_digits, "prune=0.5,int4")
    assert [each.steps for each in result.tried] == ["original", "prune=0.5", "prune=0.5,int4"]
    sizes = [each.weights_bytes for each in result.tried]
    assert sizes[1] < 0.4 * sizes[0] and sizes[2] < 0.35 * sizes[1]
    assert result.tried[2].parameters < result.tried[0].parameters / 3
    assert result.chosen == 2 and result.n == 43 and result.tried[1].accuracy > 0.5
    model = resolve_model(FOLDER)
    assert model.header.start["model"] == result.model == resolve_model("fast").id
    assert recipes_of(model.header)[1:] == recipes_of(resolve_model("fast").header)
    assert result.test is not None and model.header.metrics["test_accuracy"] == result.test.accuracy
    assert count_parameters(open_network(model)) == result.tried[2].parameters
    assert json.loads((FOLDER / "compression.json").read_text()) == json.loads(json.dumps(result.record()))
    assert "prune=0.5,int4" in (FOLDER / "pareto.svg").read_text()
    teacher = read_header(FOLDER / "steps/prune=0.5/model.safetensors").teacher
    assert list(teacher) == [resolve_model("fast").id]


def test_another_teacher_can_be_named(other_digits: Path) -> None:
    config = CompressionConfig(model="micro", data=str(other_digits), epochs=1, teacher=("tiny", "fast"))
    compress(config, parse_steps("int4"), folder=FOLDER)
    learned_from = read_header(FOLDER / "steps/int4/model.safetensors").teacher
    assert list(learned_from) == [resolve_model("tiny").id, resolve_model("fast").id]
    with pytest.raises(OutputError, match=r"another --seed \(0, now 1\), --teacher\.$"):
        compress(replace(config, teacher=(), seed=1), parse_steps("int4"), folder=FOLDER)


def test_finished_steps_are_found_again(other_digits: Path) -> None:
    first = run(other_digits, "prune=0.5")
    changed = {path: path.stat().st_mtime_ns for path in FOLDER.glob("steps/*/*.safetensors")}
    again = run(other_digits, "prune=0.5,int8", force=True)
    assert again.tried[:2] == first.tried
    assert all(path.stat().st_mtime_ns == time for path, time in changed.items())


def test_an_interrupted_training_goes_on(other_digits: Path) -> None:
    signals = iter([None] * 5 + [signal.SIGINT] * 5)
    with pytest.raises(Interrupted) as stopped:
        run(other_digits, "int4", epochs=1, stop_signal=lambda: next(signals))
    assert stopped.value.remedy == "The same command continues with the finished models."
    begun = FOLDER / "steps/int4/untrained.safetensors"
    time = begun.stat().st_mtime_ns
    events: list[Event] = []
    result = run(other_digits, "int4", epochs=1, on_event=events.append)
    assert result.tried[1].steps == "int4" and begun.stat().st_mtime_ns == time
    assert [event for event in events if isinstance(event, ModelStarted)] == [ModelStarted("int4", 1, 1)]


def test_a_signal_stops_between_two_models(other_digits: Path) -> None:
    signals = iter([None, None, signal.SIGTERM, signal.SIGTERM])
    with pytest.raises(Interrupted) as stopped:
        run(other_digits, "fold,int8", stop_signal=lambda: next(signals))
    assert stopped.value.exit_code == 128 + signal.SIGTERM and not (FOLDER / "model.safetensors").exists()
    with pytest.raises(ModelError, match="holds no model.safetensors") as caught:
        resolve_model(FOLDER)
    assert "run the same `digitcli compress` again" in caught.value.remedy


def test_what_a_killed_process_has_left_is_removed(other_digits: Path) -> None:
    run(other_digits, "fold")
    names = ("model.safetensors", "compression.json", "steps/fold/untrained.safetensors")
    left = [(FOLDER / name).with_name(f".{Path(name).name}.k3j.part") for name in names]
    of_others = FOLDER / ".thesis.tex.k3j.part"
    for path in (*left, of_others):
        path.touch()
    run(other_digits, "fold")
    assert [path.exists() for path in (*left, of_others)] == [False, False, False, True]


def test_another_compression_needs_force_and_files_of_others_stay(other_digits: Path) -> None:
    run(other_digits, "int8")
    (FOLDER / "mine.txt").write_text("kept")
    (FOLDER / "steps/mine.txt").write_text("kept")
    distilled = FOLDER / "steps/distill=torchvision%2Fresnet18"
    distilled.mkdir()
    (distilled / "untrained.safetensors").touch()
    with pytest.raises(OutputError, match="was started with another model\\.") as caught:
        run(other_digits, "int8", model="micro")
    assert "--force" in caught.value.remedy
    with pytest.raises(OutputError, match=r"--epochs \(1, now 2\)\.$"):
        run(other_digits, "int8", epochs=2)
    assert run(other_digits, "int8", model="micro", force=True).model.startswith("micro@")
    assert not distilled.exists()
    assert (FOLDER / "mine.txt").read_text() == (FOLDER / "steps/mine.txt").read_text() == "kept"
    (FOLDER / "settings.json").write_text('{"of": "another program"}')
    with pytest.raises(OutputError, match="holds other files"):
        run(other_digits, "int8", force=True)
    assert (FOLDER / "steps/int8").exists()


def test_a_finished_model_of_other_steps_or_goals_needs_force(other_digits: Path) -> None:
    run(other_digits, "int8")
    kept = {name: (FOLDER / name).read_bytes() for name in RESULTS}
    for other in ({"steps": "fold"}, {"steps": "fold,int8"}, {"max_bytes": 100_000}):
        with pytest.raises(
            OutputError, match=r"finished result of a compression with --steps int8\.$"
        ) as caught:
            run(other_digits, **other)
        assert caught.value.exit_code == 7
        assert "--output" in caught.value.remedy and "--force" in caught.value.remedy
    assert {name: (FOLDER / name).read_bytes() for name in RESULTS} == kept
    step = FOLDER / "steps/int8/untrained.safetensors"
    time = step.stat().st_mtime_ns
    run(other_digits, "fold", force=True)
    assert resolve_model(FOLDER).header.weight_bits is None and step.stat().st_mtime_ns == time
    run(other_digits, "fold")  # the same steps need no --force


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_finished_model_stays_until_its_replacement_is_finished(other_digits: Path, epochs: int) -> None:
    run(other_digits, "int8")
    kept = {name: (FOLDER / name).read_bytes() for name in RESULTS}
    signals = iter([None, None, signal.SIGINT, signal.SIGINT])
    with pytest.raises(Interrupted):
        run(other_digits, "fold,int8", epochs=epochs, force=True, stop_signal=lambda: next(signals))
    assert {name: (FOLDER / name).read_bytes() for name in RESULTS} == kept


def test_a_folder_with_files_of_others_is_refused_and_stays_as_it_is(other_digits: Path) -> None:
    FOLDER.mkdir()
    (FOLDER / "notes.txt").write_text("kept")
    for force in (False, True):
        with pytest.raises(OutputError, match="holds other files .*, for example notes.txt"):
            run(other_digits, "fold", force=force)
    assert [path.name for path in FOLDER.iterdir()] == ["notes.txt"]


def test_a_folder_in_which_a_compression_was_only_begun_is_taken(other_digits: Path) -> None:
    FOLDER.mkdir()
    for name in (".lock", ".settings.json.k3j.part"):
        (FOLDER / name).touch()
    assert run(other_digits, "fold").chosen == 1
    assert not (FOLDER / ".settings.json.k3j.part").exists()


def test_the_model_that_is_compressed_is_never_replaced(other_digits: Path) -> None:
    run(other_digits, "fold")
    config = CompressionConfig(model=str(FOLDER), data=str(other_digits), epochs=0)
    with pytest.raises(OutputError, match="lies in the folder small"):
        compress(config, parse_steps("int8"), folder=FOLDER, force=True)
    assert (FOLDER / "model.safetensors").exists()


def test_steps_are_not_found_again_for_other_data(
    other_digits: Path, few_digits: Path, tmp_path: Path
) -> None:
    data = tmp_path / "d.npz"
    data.write_bytes(other_digits.read_bytes())
    run(data, "int8")
    data.write_bytes(few_digits.read_bytes())
    with pytest.raises(OutputError, match="with another content of --data"):
        run(data, "int8")


def test_the_seed_decides_on_which_examples_inputs_are_measured(other_digits: Path) -> None:
    ranges = []
    for seed in (0, 0, 1):
        config = CompressionConfig(model="micro", data=str(other_digits), epochs=0, seed=seed)
        compress(config, parse_steps("int8"), folder=Path(f"folder{len(ranges)}"))
        header = read_header(Path(f"folder{len(ranges)}") / "model.safetensors")
        ranges.append([change["ranges"] for change in header.arguments["compression"] if "ranges" in change])
    assert ranges[0] == ranges[1] != ranges[2]


def test_what_was_measured_about_the_original_is_not_claimed_of_the_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from digitcli.training import line_sources

    monkeypatch.setattr(line_sources, "VALIDATION_LINES", 20)
    assert resolve_model("reader").header.risk
    compress(CompressionConfig(model="reader", epochs=0), parse_steps("fold"), folder=FOLDER)
    header = resolve_model(FOLDER).header
    assert not header.risk and not header.risk_companions and header.alphabet


def test_without_epochs_nothing_is_trained(other_digits: Path) -> None:
    result = run(other_digits, "int4", epochs=0)
    assert result.tried[1].accuracy > 0.95
    assert not list(FOLDER.glob("steps/*/config.json"))


def test_a_goal_for_the_size_is_reached(other_digits: Path) -> None:
    pytest.importorskip("torch_pruning")
    result = run(other_digits, max_bytes=30_000, epochs=0)
    chosen = result.tried[result.chosen]
    assert chosen.weights_bytes <= 30_000 and len(result.tried) == 5


def test_a_missed_goal_writes_no_model_but_keeps_what_was_tried(other_digits: Path) -> None:
    model = str(saved(Path("s.safetensors")))
    run(other_digits, "int8", epochs=0, model=model)
    result = run(other_digits, max_bytes=900, max_accuracy_loss=0, epochs=0, model=model, force=True)
    cause, remedy = result.missed()
    assert cause.startswith("No model reaches a loss of 0 points or less and 900 bytes or less.")
    assert result.computed_bytes["int8"] > 900 and str(min(result.computed_bytes.values())) in remedy
    assert not (FOLDER / "model.safetensors").exists()
    record = json.loads((FOLDER / "compression.json").read_text())
    assert record["chosen"] is None and record["checkpoint"] is None
    with pytest.raises(ModelError) as caught:
        resolve_model(FOLDER)
    assert "other goals" in caught.value.remedy
    assert run(other_digits, "int8", epochs=0, model=model).chosen == 1, "nothing is lost without a model"


def test_what_cannot_be_compressed_is_refused(few_digits: Path, other_digits: Path) -> None:
    with pytest.raises(UsageError, match="Neither steps nor goals"):
        run(few_digits)
    with pytest.raises(UsageError, match="Steps and goals"):
        run(few_digits, "int8", max_bytes=1)
    with pytest.raises(ModelError):
        run(few_digits, "int8", model="nothing")
    run(other_digits, "int4", epochs=0)
    assert resolve_model(FOLDER).id.startswith("small-int4@")
    with pytest.raises(UsageError, match="integers already"):
        compress(CompressionConfig(model=str(FOLDER)), parse_steps("int8"), folder=Path("second"))


def test_a_reader_of_lines_can_be_quantized(monkeypatch: pytest.MonkeyPatch) -> None:
    from digitcli.training import line_sources, line_task

    monkeypatch.setattr(line_sources, "VALIDATION_LINES", 20)
    for part in (line_sources, line_task):
        monkeypatch.setattr(part, "POOL_BATCHES", 3)
    config = CompressionConfig(model="reader", epochs=0)
    result = compress(config, parse_steps("int4"), folder=FOLDER)
    original, small = result.tried
    assert small.weights_bytes < 0.3 * original.weights_bytes and result.unit == "line"
    assert small.accuracy > 0.5 and result.test is None
    assert resolve_model(FOLDER).header.alphabet == resolve_model("reader").header.alphabet


def test_all_models_are_tested_on_the_same_digits(few_digits: Path, tmp_path: Path) -> None:
    """Also where the dataset has no test digits, and the original was not trained on it."""
    with np.load(few_digits) as content:
        np.savez(tmp_path / "d.npz", images=content["images"], labels=content["labels"])
    tested: list[int] = []

    def counting(*arguments: Any, **options: Any) -> EvaluationResult:
        result = evaluate(*arguments, **options)
        tested.append(result.n)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "evaluate", counting)
        run(tmp_path / "d.npz", "int4", model="micro")
    dataset = split(load_dataset(str(tmp_path / "d.npz")))
    assert tested == [len(dataset.test)] * 2 and len(dataset.test) < len(dataset.train)


def test_the_folder_of_a_smaller_architecture_is_named_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []

    def recorded(compressor: Compressor, request: str, force: bool) -> NoReturn:
        folders.append(compressor.folder)
        raise OutputError("enough")

    monkeypatch.setattr(module, "_opened", recorded)
    for steps in ("int8", "distill=tiny,int8", "distill=torchvision/resnet18"):
        with pytest.raises(OutputError, match="enough"):
            compress(CompressionConfig(model="cnn"), parse_steps(steps))
    names = ("cnn", "cnn-tiny", "cnn-torchvision-resnet18")
    assert folders == [Path("runs/compress", name) for name in names]
