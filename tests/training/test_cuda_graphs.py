"""Recorded steps, as far as a CPU can tell: a recording that simply calls again stands in for the GPU's."""

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
from digitcli.training.cuda_graphs import EAGER_STEPS, GraphedUpdate, check_graphs
from digitcli.training.optimization import create_optimizer, set_lr

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Recorder:
    """Keeps what it is given, as CUDA keeps kernels: the same function with the same tensors."""

    def __init__(self) -> None:
        self.recorded, self.replayed = 0, 0

    def __call__(self, function: Callable[[], Tensor]) -> Callable[[], Tensor]:
        self.recorded += 1
        output = torch.zeros(())

        def replay() -> Tensor:
            self.replayed += 1
            return output.copy_(function())

        return replay


def test_after_a_few_steps_it_is_recorded_once_and_gets_new_indices() -> None:
    seen: list[Tensor] = []
    places: list[int] = []

    def update(indices: Tensor) -> Tensor:
        seen.append(indices.clone())
        places.append(indices.data_ptr())
        return indices.sum().float()

    recorder = Recorder()
    graphed = GraphedUpdate(update, recorder)
    batches = [torch.arange(4) + 10 * step for step in range(EAGER_STEPS + 4)]
    losses = [graphed(batch) for batch in batches]
    assert [float(loss) for loss in losses] == [float(batch.sum()) for batch in batches]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(seen, batches, strict=True))
    assert (recorder.recorded, recorder.replayed) == (1, 4)
    assert len(set(places[EAGER_STEPS:])) == 1


@pytest.mark.parametrize("arch", ["lenet5", "tiny"])
def test_recorded_training_ends_with_the_weights_of_plain_training(
    arch: str, few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weights(name: str, **options: bool) -> dict[str, Tensor]:
        recipe = {"epochs": 3, "batch_size": 70, "dtype": "float32", "elastic": 0.5}
        config = TrainConfig(arch=arch, data=str(few_digits), recipe=recipe, device="cpu", **options)
        made = trainer.train(config, out=tmp_path / name)
        assert made.checkpoint is not None
        return read_checkpoint(Path(made.checkpoint))[1]

    recorder = Recorder()
    monkeypatch.setattr(setup, "check_graphs", lambda *arguments: None)
    monkeypatch.setattr(setup, "GraphedUpdate", lambda update: GraphedUpdate(update, recorder))
    plain, recorded = weights("plain"), weights("recorded", cuda_graphs=True)
    assert recorder.replayed == 3 * 6 - EAGER_STEPS
    for name, tensor in plain.items():
        torch.testing.assert_close(recorded[name], tensor, rtol=1e-4, atol=1e-5)


def test_the_learning_rate_of_a_recorded_step_stays_one_tensor() -> None:
    network = create_model("lenet5")
    optimizer = create_optimizer(network, Recipe(), graphed=True)
    tensors = [group["lr"] for group in optimizer.param_groups]
    set_lr(optimizer, 0.25)
    assert all(group["lr"] is tensor for group, tensor in zip(optimizer.param_groups, tensors, strict=True))
    assert [float(tensor) for tensor in tensors] == [0.25] * len(tensors)


@pytest.mark.parametrize(
    ("device", "task", "processes", "optimizer", "said"),
    [
        (CPU, "digit", 1, "adamw", "for GPUs"),
        (CUDA, "line", 1, "adamw", "single digits"),
        (CUDA, "digit", 2, "adamw", "one process"),
        (CUDA, "digit", 1, "muon", "take adamw"),
    ],
)
def test_what_cannot_be_recorded_is_refused(
    device: torch.device, task: str, processes: int, optimizer: str, said: str
) -> None:
    config = TrainConfig(cuda_graphs=True)
    with pytest.raises(UsageError, match=said):
        check_graphs(config, Recipe(optimizer=optimizer), device, task, processes)  # type: ignore[arg-type]
    check_graphs(TrainConfig(), Recipe(optimizer=optimizer), device, task, processes)  # type: ignore[arg-type]


def test_what_can_be_recorded_is_not_refused() -> None:
    check_graphs(TrainConfig(cuda_graphs=True), Recipe(), CUDA, "digit", 1)
