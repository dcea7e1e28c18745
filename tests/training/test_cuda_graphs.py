"""Steps as CUDA graphs; a recorder that calls the function again replaces the GPU's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from digitcli.architectures.recipe import Recipe
from digitcli.architectures.registry import create_model
from digitcli.errors import UsageError
from digitcli.inference.checkpoint import read_checkpoint
from digitcli.training import setup, trainer
from digitcli.training.configuration import TrainConfig
from digitcli.training.cuda_graphs import WARMUP_STEPS, GraphedStep, check_cuda_graphs
from digitcli.training.optimization import create_optimizer, set_lr

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Recorder:
    """Records a function by keeping it, and repeats it with the same tensors."""

    def __init__(self) -> None:
        self.recorded, self.replayed = 0, 0

    def __call__(self, function: Callable[[], Tensor]) -> Callable[[], Tensor]:
        self.recorded += 1
        output = torch.zeros(())

        def replay() -> Tensor:
            self.replayed += 1
            return output.copy_(function())

        return replay


def test_a_step_is_recorded_once_and_repeated_with_new_indices() -> None:
    batches_of_steps: list[Tensor] = []
    addresses: list[int] = []

    def update(indices: Tensor) -> Tensor:
        batches_of_steps.append(indices.clone())
        addresses.append(indices.data_ptr())
        return indices.sum().float()

    recorder = Recorder()
    graphed = GraphedStep(update, recorder)
    batches = [torch.arange(4) + 10 * step for step in range(WARMUP_STEPS + 4)]
    losses = [graphed(batch) for batch in batches]
    assert [float(loss) for loss in losses] == [float(batch.sum()) for batch in batches]
    assert all(map(torch.equal, batches_of_steps, batches))
    assert (recorder.recorded, recorder.replayed) == (1, 4)
    assert len(set(addresses[WARMUP_STEPS:])) == 1


@pytest.mark.parametrize(("arch", "teacher"), [("lenet5", ()), ("tiny", ()), ("lenet5", ("fast",))], ids=str)
def test_recorded_training_ends_with_the_weights_of_plain_training(
    arch: str, teacher: tuple[str, ...], few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weights(name: str, **options: bool) -> dict[str, Tensor]:
        recipe = {"epochs": 2, "batch_size": 70, "dtype": "float32", "elastic": 0.5, "lr": 1e-4}
        config = TrainConfig(
            arch=arch, data=str(few_digits), recipe=recipe, device="cpu", teacher=teacher, **options
        )
        made = trainer.train(config, out=tmp_path / name)
        assert made.checkpoint is not None
        return read_checkpoint(Path(made.checkpoint))[1]

    recorder = Recorder()
    monkeypatch.setattr(setup, "check_cuda_graphs", lambda *arguments: None)
    monkeypatch.setattr(setup, "GraphedStep", lambda update: GraphedStep(update, recorder))
    plain, recorded = weights("plain"), weights("recorded", cuda_graphs=True)
    assert recorder.replayed == 2 * 6 - WARMUP_STEPS
    # A learning rate that is a tensor is rounded to float32. Adam makes steps of its size even of gradients
    # that are nothing but rounding, so that it is low.
    for name, tensor in plain.items():
        torch.testing.assert_close(recorded[name], tensor, rtol=1e-4, atol=1e-5)


def test_the_learning_rate_of_a_recorded_step_is_one_tensor() -> None:
    network = create_model("lenet5")
    optimizer = create_optimizer(network, Recipe(), graphed=True)
    tensors = [group["lr"] for group in optimizer.param_groups]
    set_lr(optimizer, 0.25)
    assert all(group["lr"] is tensor for group, tensor in zip(optimizer.param_groups, tensors, strict=True))
    assert [float(tensor) for tensor in tensors] == [0.25] * len(tensors)


@pytest.mark.parametrize(
    ("device", "task", "processes", "optimizer", "message"),
    [
        (CPU, "digit", 1, "adamw", "needs a GPU"),
        (CUDA, "line", 1, "adamw", "single digits"),
        (CUDA, "digit", 2, "adamw", "one process"),
        (CUDA, "digit", 1, "muon", "muon"),
    ],
)
def test_a_run_whose_steps_cannot_be_recorded_is_refused(
    device: torch.device, task: str, processes: int, optimizer: str, message: str
) -> None:
    config = TrainConfig(cuda_graphs=True)
    with pytest.raises(UsageError, match=message):
        check_cuda_graphs(config, Recipe(optimizer=optimizer), device, task, processes)  # type: ignore[arg-type]
    check_cuda_graphs(TrainConfig(), Recipe(optimizer=optimizer), device, task, processes)  # type: ignore[arg-type]


def test_a_run_whose_steps_can_be_recorded_is_accepted() -> None:
    check_cuda_graphs(TrainConfig(cuda_graphs=True), Recipe(), CUDA, "digit", 1)
