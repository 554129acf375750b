"""What the doctor says of machines, each described as data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from swin_deploy.doctor.board_power import power_lines
from swin_deploy.doctor.gpu import gpu_lines
from swin_deploy.doctor.line import Line, Verdict, exit_status
from swin_deploy.doctor.machine import Machine, look_at
from swin_deploy.doctor.packages import package_lines
from tests.device.telemetry.fake_jetson import orin_nano, write

GOOD = Machine(
    packages={
        "python": "3.11.7", "torch": "2.14.1+cpu", "onnx": "1.23.2", "onnxruntime": "1.32.0",
        "tensorrt_rtx": "1.6.1.120",
    },
    gpu="NVIDIA GeForce RTX 4090",
    capability="8.9",
    driver="570.86",
    free_mib=60_000,
    gpu_free_mib=20_000,
    disk_free_mib=100_000,
)  # fmt: skip


def of(lines: object, check: str) -> Line:
    (found,) = [line for line in lines if line.check == check]
    return found


def test_a_machine_as_it_was_executed_on_has_nothing_to_complain_of() -> None:
    lines = [*package_lines(GOOD), *gpu_lines(GOOD), *power_lines(GOOD)]
    assert {line.verdict for line in lines} == {Verdict.OK}
    assert exit_status(lines) == 0


def with_packages(**versions: str | None) -> Machine:
    kept = {name: version for name, version in {**GOOD.packages, **versions}.items() if version is not None}
    return replace(GOOD, packages=kept)


@pytest.mark.parametrize(
    ("package", "version", "verdict", "word"),
    [
        ("torch", "2.99.0", Verdict.WARN, "nothing is known"),
        ("onnx", "nightly", Verdict.WARN, "nothing is known"),
        ("tensorrt_rtx", "2.0.0", Verdict.WARN, "nothing is known"),
        ("tensorrt", "10.3.0.30", Verdict.WARN, "expected to work"),
        ("torch", "2.12.0", Verdict.WARN, "expected to work"),
        ("torch", "2.10.1", Verdict.FAIL, "2.11"),
        ("tensorrt", "8.4.3.1", Verdict.FAIL, "no export profile"),
        ("python", "3.8.10", Verdict.FAIL, "runner.py"),
        ("onnxruntime", None, Verdict.FAIL, "not installed"),
    ],
)
def test_each_version_has_the_verdict_of_its_row(
    package: str, version: str | None, verdict: Verdict, word: str
) -> None:
    line = of(package_lines(with_packages(**{package: version})), package)
    assert line.verdict is verdict
    assert word in line.seen
    assert line.do


def test_an_installed_tensorrt_whose_libraries_do_not_load_fails_with_the_reason() -> None:
    broken = replace(GOOD, broken={"tensorrt_rtx": "libtensorrt_rtx.so: cannot open shared object file"})
    line = of(package_lines(broken), "tensorrt_rtx")
    assert line.verdict is Verdict.FAIL and "cannot open" in line.seen


def test_without_any_tensorrt_no_engine_can_be_built_and_the_way_out_is_said() -> None:
    line = of(package_lines(with_packages(tensorrt_rtx=None)), "TensorRT")
    assert line.verdict is Verdict.WARN and "--system-site-packages" in line.do


def test_no_gpu_is_a_warning_since_plans_can_be_built_for_others() -> None:
    (line,) = gpu_lines(replace(GOOD, gpu="", capability="", gpu_problem="no NVIDIA driver is here."))
    assert line.verdict is Verdict.WARN and "no NVIDIA driver is here)" in line.seen


ORIN = replace(
    GOOD,
    packages={**GOOD.packages, "tensorrt": "10.3.0.30"},
    gpu="Orin",
    capability="8.7",
    board="NVIDIA Jetson AGX Orin Developer Kit",
    jetson_linux="36.4.3",
)


def test_a_gpu_that_the_only_tensorrt_refuses_fails_and_one_that_another_takes_warns() -> None:
    alone = replace(ORIN, packages=GOOD.packages)
    line = of(gpu_lines(alone), "tensorrt_rtx here")
    assert line.verdict is Verdict.FAIL and "Jetson Orin" in line.seen and "full TensorRT" in line.do
    assert exit_status(gpu_lines(alone)) == 3
    line = of(gpu_lines(ORIN), "tensorrt_rtx here")
    assert line.verdict is Verdict.WARN and "it is installed" in line.do
    assert of(gpu_lines(ORIN), "tensorrt here").verdict is Verdict.OK


def test_jetpack_is_named_and_another_tensorrt_than_its_own_is_a_warning() -> None:
    line = of(package_lines(ORIN), "JetPack")
    assert line.verdict is Verdict.OK and "JetPack 6.1 or 6.2" in line.seen and "10.3" in line.seen
    other = replace(ORIN, packages={**ORIN.packages, "tensorrt": "10.30.1"})
    line = of(package_lines(other), "JetPack")
    assert line.verdict is Verdict.WARN and "10.30.1" in line.seen
    unknown = replace(ORIN, jetson_linux="99.1.0")
    assert of(package_lines(unknown), "JetPack").verdict is Verdict.WARN


def test_power_mode_clock_and_throttling_are_said() -> None:
    board = replace(
        ORIN,
        power_mode="15W",
        power_modes={0: "15W", 2: "MAXN_SUPER"},
        gpu_bound_mhz=612.0,
        gpu_highest_mhz=1020.0,
        throttled=("The sensor gpu reached 99 C, at which clocks are cut: cool the board.",),
    )
    lines = list(power_lines(board))
    assert [line.check for line in lines] == ["power mode", "GPU clock", "throttling"]
    assert {line.verdict for line in lines} == {Verdict.WARN}
    assert "MAXN_SUPER (-m 2)" in lines[0].seen and "612 of 1020 MHz" in lines[1].seen
    free = replace(board, power_mode="MAXN_SUPER", gpu_bound_mhz=1020.0, throttled=())
    assert {line.verdict for line in power_lines(free)} == {Verdict.OK}


def test_a_machine_is_looked_at_without_an_error_whatever_it_has(tmp_path: Path) -> None:
    here = look_at()
    assert here.packages["python"] and here.packages["torch"]
    assert here.disk_free_mib is not None and bool(here.gpu) != bool(here.gpu_problem)
    assert look_at(tmp_path, find=lambda name: None).board == ""


def test_a_jetson_s_files_are_found_below_its_root(tmp_path: Path) -> None:
    root = orin_nano(tmp_path)
    write(root, {"proc/meminfo": "MemTotal:        7802752 kB\nMemAvailable:    4194304 kB"})
    machine = look_at(root, find=lambda name: None)
    assert machine.is_jetson and machine.jetson_linux == "36.4.3" and machine.power_mode == "15W"
    assert machine.power_modes[2] == "MAXN_SUPER"
    assert (machine.gpu_bound_mhz, machine.gpu_highest_mhz) == (624.75, 1020.0)
    assert machine.free_mib == 4096


def test_the_status_is_the_machine_s_before_the_checkpoint_s() -> None:
    ok = Line("machine", "a", Verdict.OK, "fine")
    warn = Line("machine", "b", Verdict.WARN, "so so", "look")
    machine = Line("machine", "c", Verdict.FAIL, "bad", "mend")
    checkpoint = Line("checkpoint", "d", Verdict.FAIL, "bad", "mend")
    assert exit_status([ok, warn]) == 0
    assert exit_status([ok, checkpoint]) == 5
    assert exit_status([checkpoint, machine]) == 3


def test_a_line_that_finds_fault_must_say_what_to_do() -> None:
    with pytest.raises(AssertionError):
        Line("machine", "a", Verdict.WARN, "so so")
