"""Cubins are loaded and launched through the driver: against an imitated one that is as strict as a GPU."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator
from typing import Any

import pytest
from launching_driver import SCRATCH, SHARED, LaunchingDriver

from swin_deploy.device.cuda_memory import Device
from swin_deploy.device.cuda_module import CudaKernel
from swin_deploy.errors import EnvironmentFault, Unavailable

CODE = json.dumps({"kernel": "note", "warps": 2, "types": {"x": "*fp32", "rows": "i32", "far": "i64"}}).encode()


def note(driver: Any, text: str, grid: tuple[int, int, int], read: Any) -> None:
    driver.notes.append((grid, read(0, "pointer"), read(1, "i32"), read(2, "i64")))


@pytest.fixture
def driver() -> Iterator[LaunchingDriver]:
    driver = LaunchingDriver(carry_out=note)
    yield driver
    assert not driver.held


def values(*scratch: ctypes.c_void_p) -> list[Any]:
    return [ctypes.c_void_p(1 << 40), ctypes.c_int32(-7), ctypes.c_int64(1 << 40), *scratch]


def test_a_launch_has_its_grid_and_values_each_time_it_is_queued(driver: LaunchingDriver) -> None:
    with Device(library=driver) as device:
        kernel = CudaKernel(device, CODE, entry="note_kernel", warps=2, shared=SHARED)
        launch = kernel.prepared((5, 6, 7), values(*(ctypes.c_void_p() for _ in range(SCRATCH))))
        launch.enqueue()
        launch.enqueue()
        kernel.close()
        kernel.close()  # a second time does nothing
    assert driver.notes == [((5, 6, 7), 1 << 40, -7, 1 << 40)] * 2


@pytest.mark.parametrize("wrong", ["warps", "scratch", "shared"])
def test_a_launch_that_is_not_the_kernels_is_refused(wrong: str, driver: LaunchingDriver) -> None:
    warps, shared = (4 if wrong == "warps" else 2), (0 if wrong == "shared" else SHARED)
    scratch = [ctypes.c_void_p(5 if wrong == "scratch" else 0) for _ in range(SCRATCH)]
    with Device(library=driver) as device:
        kernel = CudaKernel(device, CODE, entry="note_kernel", warps=warps, shared=shared)
        with pytest.raises(EnvironmentFault, match="cuLaunchKernel"):
            kernel.prepared((1, 1, 1), values(*scratch)).enqueue()
        kernel.close()
    assert not driver.notes


def test_large_shared_memory_is_asked_for_and_too_much_is_explained(driver: LaunchingDriver) -> None:
    with Device(library=driver) as device:
        kernel = CudaKernel(device, CODE, entry="note_kernel", warps=2, shared=96 << 10)
        assert list(driver.granted.values()) == [96 << 10]
        kernel.close()
        with pytest.raises(Unavailable, match="100 KiB of shared memory, more than this GPU"):
            CudaKernel(device, CODE, entry="note_kernel", warps=2, shared=100 << 10)
