"""A network learns from teachers: the loss, the identity of a run, and what is refused."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import create_model, resolve_recipe
from digitcli.data.loading import load_dataset
from digitcli.errors import Interrupted, ModelError, UsageError
from digitcli.inference.checkpoint import MODEL_FILE, RESUME_FILE, read_header
from digitcli.inference.model_resolution import resolve_model
from digitcli.inference.torch_runtime import open_network
from digitcli.training.checks import resolve_teachers
from digitcli.training.data_parallel import ONE_PROCESS, Processes
from digitcli.training.digit_task import DigitTask, distillation_loss, load_teacher, loss_function
from digitcli.training.trainer import resume, train
from tests.support.models import saved
from tests.support.processes import Run
from tests.support.training import assert_same_run, stop_after, train_config

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two model files with random weights, whose low temperatures make their answers differ."""
    folder = tmp_path_factory.mktemp("teachers")
    first = saved(folder / "first.safetensors", "fast", seed=1, temperature=0.1)
    return str(first), str(saved(folder / "second.safetensors", "softmax", seed=2, temperature=0.3))


def task_with(
    data: Path, *teachers: str, processes: Processes = ONE_PROCESS, **changes: Any
) -> tuple[DigitTask, Recipe]:
    config = train_config(data, "softmax", teacher=teachers, recipe=changes)
    recipe = resolve_recipe("softmax", **config.recipe)
    models, dataset = resolve_teachers(teachers), load_dataset(str(data))
    task = DigitTask(config, recipe, dataset, CPU, processes, teachers=models)
    return task, recipe


def expected_divergence(logits: Tensor, targets: Tensor, temperature: float) -> float:
    answers = (logits / temperature).softmax(dim=-1)
    rows = (targets * (targets.log() - answers.log())).sum(dim=-1)
    return temperature**2 * float(rows.mean())


def test_the_loss_and_its_gradient_equal_their_formulas() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 10, generator=random, requires_grad=True)
    targets = torch.randn(6, 10, generator=random).softmax(dim=-1)
    loss = distillation_loss(logits, targets, temperature=3.0)
    assert float(loss.detach()) == pytest.approx(expected_divergence(logits.detach(), targets, 3.0), rel=1e-5)
    loss.backward()
    expected = 3.0 * ((logits.detach() / 3.0).softmax(dim=-1) - targets) / 6
    torch.testing.assert_close(logits.grad, expected)
    loss = distillation_loss(torch.zeros(1, 10), torch.eye(10)[:1], temperature=2.0)  # targets of zero
    assert float(loss) == pytest.approx(4 * math.log(10))


def test_a_teacher_answers_with_the_mean_calibrated_probabilities(models: tuple[str, str]) -> None:
    resolved = resolve_teachers(models)
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    probabilities = [
        (open_network(model)(images).detach() / model.header.temperature).softmax(dim=-1)
        for model in resolved
    ]
    for number in (1, 2):
        teacher = load_teacher(resolved[:number], CPU)
        mean = sum(probabilities[:number], torch.zeros(5, 10)) / number
        torch.testing.assert_close(teacher(images).detach().softmax(dim=-1), mean)


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (1, {}),
        (1, {"augment": True}),
        (2, {"augment": True, "mixup": 0.4}),
        (1, {"augment": True, "synthetic": 0.1}),
        (1, {"augment": True, "synthetic": 0.1, "mixup": 0.4}),
    ],
)
def test_a_batch_has_both_losses_on_the_images_that_the_network_sees(
    few_digits: Path, models: tuple[str, str], number: int, changes: dict[str, Any]
) -> None:
    """The target of a letter is ten equal probabilities, and a blended image has a blend of both targets."""
    names, settings = models[:number], {"distillation_temperature": 2.5, "distillation_weight": 0.75}
    task, recipe = task_with(few_digits, *names, **settings, **changes)
    indices, labels = task.indices(0, 0), task._labels
    if recipe.synthetic:  # each digit is blended with a letter, and each letter with a digit
        indices = torch.cat([each.nonzero().flatten()[:4] for each in (labels < 10, labels == 10)])
    labels, half = labels[indices], len(indices) // 2
    network = create_model("softmax").requires_grad_(False)
    torch.manual_seed(5)
    images, weight = task.augmented(indices)
    torch.manual_seed(5)
    loss = float(task.loss_of(network, indices))
    assert (weight is not None) == bool(recipe.mixup)
    logits, letters = network(images), (labels == 10).float()
    by_labels = loss_function(recipe)(logits, labels)
    if weight is not None:
        by_labels = weight * by_labels + (1 - weight) * loss_function(recipe)(logits, labels.roll(half))
        letters = weight * letters + (1 - weight) * letters.roll(half)
    answers = load_teacher(resolve_teachers(names), CPU)(images).detach()
    targets = torch.lerp((answers / 2.5).softmax(dim=-1), torch.full((10,), 0.1), letters[:, None])
    by_teacher = expected_divergence(logits, targets, 2.5)
    assert loss == pytest.approx(0.75 * by_teacher + 0.25 * float(by_labels), rel=1e-4)
    if not recipe.augment:  # the answers to digits that are always the same are kept
        task._teacher = nn.Identity()
        assert float(task.loss_of(network, indices)) == loss


def test_the_shares_of_two_processes_have_the_mean_loss_of_the_whole_batch(
    few_digits: Path, models: tuple[str, str]
) -> None:
    network, losses = create_model("softmax"), []
    for processes in (ONE_PROCESS, Processes(0, 2), Processes(1, 2)):
        torch.manual_seed(3)
        task, _ = task_with(few_digits, models[0], processes=processes, augment=True, mixup=0.4)
        losses.append(float(task.loss(network, 0, 0, 0.0).detach()))
    assert losses[0] == pytest.approx((losses[1] + losses[2]) / 2, rel=1e-4)
    assert losses[1] != losses[2]


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_run(
    few_digits: Path, tmp_path: Path, models: tuple[str, str]
) -> None:
    """6 steps an epoch, 12 in all."""
    recipe = {"epochs": 2, "batch_size": 70, "augment": True, "ema_decay": 0.9}
    config = train_config(few_digits, "lenet5", teacher=models, recipe=recipe)
    train(config, out=tmp_path / "undisturbed")
    with pytest.raises(Interrupted):
        train(config, out=tmp_path / "run", stop_signal=stop_after(8))
    resume(tmp_path / "run", {})
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")
    header = read_header(tmp_path / "run" / MODEL_FILE)
    assert header.teacher == {model.id: model.sha256 for model in map(resolve_model, models)}
    assert [name.partition("@")[0] for name in header.teacher] == ["first", "second"]


def test_a_run_resumes_with_its_moved_teacher_and_with_no_other(
    few_digits: Path, models: tuple[str, str], tmp_path: Path
) -> None:
    run, teacher = tmp_path / "run", Path(shutil.copy(models[0], tmp_path / "teacher.safetensors"))
    with pytest.raises(Interrupted):
        config = train_config(few_digits, "softmax", teacher=(str(teacher),))
        train(config, out=run, stop_signal=stop_after(8))
    with pytest.raises(UsageError, match="--distillation-temperature"):
        resume(run, {"recipe": {"distillation_temperature": 3.0}})
    moved = teacher.rename(teacher.with_name("moved.safetensors"))
    with pytest.raises(ModelError, match="The teacher cannot be used") as caught:
        resume(run, {})
    assert str(teacher) in caught.value.cause and "--teacher" in caught.value.remedy
    saved(teacher, "softmax")
    for changes in ({}, {"teacher": (str(teacher),)}, {"teacher": ()}):
        with pytest.raises(UsageError, match="began with the teacher teacher@"):
            resume(run, changes)
    assert read_header(run / RESUME_FILE).training["result"] is None
    resume(run, {"teacher": (str(moved),)})
    train(train_config(few_digits, "softmax", teacher=models[:1]), out=tmp_path / "undisturbed")
    assert_same_run(run, tmp_path / "undisturbed")
    with pytest.raises(Interrupted):
        train(train_config(few_digits, "softmax"), out=tmp_path / "plain", stop_signal=stop_after(2))
    assert read_header(tmp_path / "plain" / RESUME_FILE).teacher == {}
    with pytest.raises(UsageError, match="teacher none, but its teacher is now first@"):
        resume(tmp_path / "plain", {"teacher": models[:1]})


def test_the_command_line_takes_several_teachers(digitcli: Run, few_digits: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "own.safetensors")
    (tmp_path / "run.toml").write_text('teacher = ["own.safetensors"]\nepochs = 1\n')
    command = ("train", "-a", "softmax", "--data", few_digits)
    done = digitcli(*command, "-e", "1", "--teacher", "fast", "--teacher", "own.safetensors", "-o", "runs/a")
    assert done.returncode == 0, done.stderr
    own = resolve_model(path)
    assert list(read_header(Path("runs/a") / MODEL_FILE).teacher) == [resolve_model("fast").id, own.id]
    start = "".join(done.stderr.split())  # a long path is broken
    assert f"teacherfast,{path}" in start and "distillationtemperature" in start
    assert read_header(Path("runs/a") / RESUME_FILE).training["config"]["teacher"] == ["fast", str(path)]
    from_file = digitcli(*command, "--config", "run.toml", "-o", "runs/b")
    assert from_file.returncode == 0, from_file.stderr
    assert list(read_header(Path("runs/b") / MODEL_FILE).teacher) == [own.id]
    plain = digitcli(*command, "-e", "1", "-o", "runs/c")
    assert plain.returncode == 0 and "istillation" not in plain.stderr
    assert "loss by teacher and labels" in done.stderr and "epoch 1/1  loss 2." in plain.stderr
