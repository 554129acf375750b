"""The estimate of a build's memory, in numbers worked out by hand, and the refusal of a build that would run out."""

from __future__ import annotations

from pathlib import Path

import pytest

from swin_deploy.device.build_memory import BuildMemory, estimated, free_memory_mib, require_memory
from swin_deploy.errors import EnvironmentFault


def test_the_parts_add_up() -> None:
    # A graph of 57 MiB four times, 165 MiB of activations and a bound of 512 MiB.
    found = estimated("tensorrt", 57 << 20, 165, workspace_mib=512)
    assert found == BuildMemory(libraries=2048, graph=228, trials=677)
    assert found.total == 2953


def test_a_memory_limit_bounds_what_kernels_are_tried_in_and_no_bound_counts_a_gibibyte() -> None:
    assert estimated("tensorrt_rtx", 1 << 20, 3000, workspace_mib=512, memory_limit_mib=2048).trials == 2048
    assert estimated("tensorrt_rtx", 1 << 20, 100).trials == 1124


def test_too_little_memory_is_refused_and_enough_or_unknown_is_not() -> None:
    needed = BuildMemory(2048, 228, 677)
    require_memory(needed, 2953, "fp16")
    require_memory(needed, None, "fp16")
    with pytest.raises(EnvironmentFault, match=r"2952 MiB of memory are free.*2953 MiB: libraries 2048") as caught:
        require_memory(needed, 2952, "fp16")
    assert caught.value.exit_code == 6
    assert "--workspace" in str(caught.value)


def test_free_memory_is_what_the_kernel_says(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:        7802656 kB\nMemFree:          211000 kB\nMemAvailable:    5300000 kB\n")
    assert free_memory_mib(meminfo) == 5175
    meminfo.write_text("MemTotal:        7802656 kB\n")
    assert free_memory_mib(meminfo) is None
    assert free_memory_mib(tmp_path / "none") is None
    assert (free_memory_mib() or 1) > 0
