from __future__ import annotations

import pytest
import torch
from torch import nn

from digitcli.architectures.registry import create_model
from digitcli.errors import EnvironmentFault, UsageError
from digitcli.inference import devices


def test_auto_takes_the_fastest_and_cuda_is_its_first_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, best in ((2, True, "cuda:0"), (0, True, "mps"), (0, False, "cpu"), (1, False, "cuda:0")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert str(devices.choose_device("auto")) == best
        assert devices.available_devices()[-1] == "cpu"
    monkeypatch.setattr(devices, "available_devices", lambda: ["cuda:0", "cuda:1", "cpu"])
    assert str(devices.choose_device("cuda")) == "cuda:0"
    assert str(devices.choose_device("cuda:1")) == "cuda:1"


def test_an_absent_device_is_a_fault_that_names_the_devices_and_another_name_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "available_devices", lambda: ["cpu"])
    for name in ("cuda", "cuda:7", "mps"):
        with pytest.raises(EnvironmentFault, match=name) as caught:
            devices.choose_device(name)
        assert caught.value.exit_code == 6
        assert caught.value.remedy == "It has: cpu."
    for name in ("gpu", "", "cuda:", "cuda:x", "CPU"):
        with pytest.raises(UsageError):
            devices.check_device_name(name)


def test_a_wrong_device_is_found_out() -> None:
    class WrongElsewhere(nn.Module):
        """Computes wrongly wherever it is moved after its first answer, as a faulty device would."""

        answers = 0

        def __init__(self) -> None:
            super().__init__()
            self.network = create_model("softmax")

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            WrongElsewhere.answers += 1
            return self.network(images) + 0.1 * (WrongElsewhere.answers > 1)

    assert devices.agrees_with_cpu(create_model("cnn"), torch.device("cpu"))
    for name, task in (("grouper", "gaps"), ("reader", "line"), ("finder", "page")):
        assert devices.agrees_with_cpu(create_model(name), torch.device("cpu"), task)
    assert not devices.agrees_with_cpu(WrongElsewhere(), torch.device("cpu"))
    assert not devices.agrees_with_cpu(create_model("cnn"), torch.device("meta"))  # lacks an operation


def test_running_out_of_memory_is_known_by_its_words() -> None:
    for message in (
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "std::bad_alloc",
    ):
        assert devices.is_out_of_memory(RuntimeError(message))
    assert not devices.is_out_of_memory(RuntimeError("shapes do not match"))
