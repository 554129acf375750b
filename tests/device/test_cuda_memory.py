"""Device memory through the driver: with no driver, with an imitated one, and (marked gpu) with the real one."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from tensorrt_fakes import FakeDriver

from swin_deploy.device import cuda_memory
from swin_deploy.errors import EnvironmentFault, Unavailable


def test_a_missing_driver_is_a_reason_and_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    reason = cuda_memory.unavailable()
    assert reason is not None
    assert "libcuda.so.1 does not load" in reason
    with pytest.raises(Unavailable):
        cuda_memory.Device()


def test_a_driver_without_a_device_is_a_reason() -> None:
    reason = cuda_memory.unavailable(library=FakeDriver(fails={"cuInit": 100}))
    assert reason is not None
    assert "no CUDA-capable device" in reason
    assert "reports 0 GPUs" in str(cuda_memory.unavailable(library=FakeDriver(devices=0)))


def test_a_device_number_past_the_last_is_a_reason() -> None:
    assert "GPU number 1" in str(cuda_memory.unavailable(1, library=FakeDriver()))
    assert cuda_memory.unavailable(0, library=FakeDriver()) is None


def test_name_and_capability_are_read_from_the_driver() -> None:
    driver = FakeDriver("12.0")
    assert cuda_memory.compute_capability(library=driver) == "12.0"
    assert cuda_memory.device_name(library=driver) == "Imaginary GPU"


def test_what_is_copied_in_comes_out_and_closing_gives_everything_back() -> None:
    driver = FakeDriver()
    given, got = np.arange(5, dtype=np.float32), np.zeros(5, np.float32)
    with cuda_memory.Device(library=driver) as device:
        buffer = device.allocate(given.nbytes)
        device.copy_in(buffer, given.ctypes.data, given.nbytes)
        device.copy_out(got.ctypes.data, buffer, got.nbytes)
        device.synchronize()
        start, end = device.event(), device.event()
        device.record(start)
        device.record(end)
        assert device.elapsed_ms(start, end) == 1.5
        assert device.stream == 77
    np.testing.assert_array_equal(got, given)
    assert not driver.memory
    assert not driver.held
    device.close()  # a second time does nothing


def test_an_exhausted_gpu_is_a_fault_of_the_environment_that_says_so() -> None:
    with (
        cuda_memory.Device(library=FakeDriver(fails={"cuMemAlloc_v2": 2})) as device,
        pytest.raises(EnvironmentFault, match="out of memory"),
    ):
        device.allocate(1 << 40)


def test_a_device_that_cannot_make_a_stream_gives_its_context_back() -> None:
    driver = FakeDriver(fails={"cuStreamCreate": 999})
    with pytest.raises(EnvironmentFault, match="cuStreamCreate"):
        cuda_memory.Device(library=driver)
    assert not driver.held


@pytest.mark.gpu
def test_the_real_driver_copies_there_and_back() -> None:
    reason = cuda_memory.unavailable()
    if reason is not None:
        pytest.skip(reason)
    given, got = np.arange(1000, dtype=np.float32), np.zeros(1000, np.float32)
    with cuda_memory.Device() as device:
        buffer = device.allocate(given.nbytes)
        device.copy_in(buffer, given.ctypes.data, given.nbytes)
        device.copy_out(got.ctypes.data, buffer, got.nbytes)
        device.synchronize()
    np.testing.assert_array_equal(got, given)
