"""Device memory out of PyTorch's allocator, where this process has PyTorch with CUDA."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from tensorrt_fakes import FakeDriver, FakeTorch

from swin_deploy.device import cuda_memory
from swin_deploy.device.torch_memory import TorchMemory, loaded_torch_memory
from swin_deploy.errors import EnvironmentFault


def test_a_device_takes_its_memory_from_pytorch_for_its_own_stream() -> None:
    torch, driver = FakeTorch(), FakeDriver()
    with cuda_memory.Device(library=driver, memory=TorchMemory(torch, 0)) as device:
        buffer, other = device.allocate(10), device.allocate(0)
        assert torch.held == {1000: (10, 0, device.stream), 1001: (1, 0, device.stream)}
        assert (buffer.address, device.allocated) == (1000, 11)
        device.free(other)
        assert list(torch.held) == [1000]
    assert not torch.held
    assert not driver.memory


def test_pytorch_out_of_memory_is_a_fault_of_the_environment() -> None:
    with (
        cuda_memory.Device(library=FakeDriver(), memory=TorchMemory(FakeTorch(), 0)) as device,
        pytest.raises(EnvironmentFault, match=r"PyTorch's allocator was asked for 4 MiB.*smaller batch"),
    ):
        device.allocate(4 << 20)


@pytest.mark.parametrize("torch", [None, FakeTorch(available=False)])
def test_without_pytorch_on_the_gpu_the_driver_is_asked(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert loaded_torch_memory(0) is None


def test_a_loaded_pytorch_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = FakeTorch()
    monkeypatch.setitem(sys.modules, "torch", torch)
    memory = loaded_torch_memory(0)
    assert memory is not None
    assert memory.allocate(1, 77) in torch.held


def test_the_allocator_has_these_calls_in_the_installed_pytorch() -> None:
    import inspect

    torch = pytest.importorskip("torch")
    assert list(inspect.signature(torch.cuda.caching_allocator_alloc).parameters)[:3] == ["size", "device", "stream"]
    assert len(inspect.signature(torch.cuda.caching_allocator_delete).parameters) == 1
    assert issubclass(torch.cuda.OutOfMemoryError, RuntimeError)
