"""tegrastats' lines, as published, of every generation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from swin_deploy.device.telemetry.power_rails import total_rails
from swin_deploy.device.telemetry.tegrastats import Tegrastats, TegrastatsLine, parse_line
from tests.device.telemetry.published_lines import (
    ORIN_JETPACK_5,
    ORIN_JETPACK_6,
    ORIN_JETPACK_7,
    THOR_GPU_PART,
    THOR_JETPACK_7,
    TX2_JETPACK_4,
    XAVIER_JETPACK_4,
)


def test_an_agx_xavier_names_its_rails_after_the_units_and_gives_no_unit_of_power() -> None:
    line = parse_line(XAVIER_JETPACK_4)
    assert line.power_w == {"GPU": 0.463, "CPU": 0.618, "SOC": 2.936, "CV": 0.0, "VDDRQ": 0.309, "SYS5V": 3.306}
    assert (line.ram_used_mb, line.ram_total_mb, line.swap_used_mb, line.swap_total_mb) == (14700, 15692, 898, 8192)
    assert line.cpu_percent == (0,) * 8 and line.cpu_mhz == (1190,) * 8
    assert (line.gpu_percent, line.gpu_mhz, line.memory_percent, line.memory_mhz) == (0, None, 0, None)
    assert line.temperatures_c["GPU"] == 30.5 and line.temperatures_c["thermal"] == 30.8


def test_the_pmic_has_no_sensor_and_is_left_out() -> None:
    assert "PMIC@100C" in XAVIER_JETPACK_4
    assert "PMIC" not in parse_line(XAVIER_JETPACK_4).temperatures_c


def test_sensors_of_an_orin_that_are_switched_off_and_rails_that_are_not_connected_are_left_out() -> None:
    line = parse_line(ORIN_JETPACK_5)
    assert line.temperatures_c == {
        "CPU": 42.593, "Tboard": 32.0, "SOC2": 39.343, "Tdiode": 33.25, "SOC0": 39.375, "tj": 42.593, "SOC1": 40.468,
    }  # fmt: skip
    assert line.power_w == {"VDD_GPU_SOC": 2.399, "VDD_CPU_CV": 0.4, "VIN_SYS_5V0": 4.032, "VDDQ_VDD2_1V8AO": 0.301}
    assert (line.gpu_percent, line.gpu_mhz, line.memory_mhz) == (0, 0, 2133)
    assert "gpu" not in line.sample().clocks_mhz, "a GPU that is off has no clock"


def test_an_orin_nano_says_its_own_input() -> None:
    line = parse_line(ORIN_JETPACK_6)
    assert line.power_w == {"VDD_IN": 12.479, "VDD_CPU_GPU_CV": 4.667, "VDD_SOC": 2.817}
    assert (line.gpu_percent, line.gpu_mhz, line.memory_percent, line.memory_mhz) == (63, 621, 43, 2133)
    assert line.temperatures_c["gpu"] == 53.343


def test_jetpack_7_adds_peaks_behind_a_second_slash_and_only_the_present_is_taken() -> None:
    line = parse_line(ORIN_JETPACK_7)
    assert line.power_w == {"VDD_GPU_SOC": 5.139, "VDD_CPU_CV": 3.268, "VIN_SYS_5V0": 5.5}
    assert line.temperatures_c == {"cpu": 52.968, "soc2": 48.406, "soc0": 49.531, "gpu": 47.625}
    assert (line.gpu_percent, line.gpu_mhz) == (12, 1300)
    assert (line.swap_used_mb, line.swap_total_mb) == (None, None)


def test_a_thor_has_rails_and_sensors_of_new_names_and_may_say_nothing_of_its_gpu() -> None:
    line = parse_line(THOR_JETPACK_7)
    assert line.power_w == {"VDD_GPU": 37.528, "VDD_CPU_SOC_MSS": 18.961, "VIN_SYS_5V0": 18.331, "VIN": 87.426}
    assert line.temperatures_c == {"cpu": 60.406, "tj": 63.281, "soc012": 58.468, "gpu": 62.906, "soc345": 63.281}
    assert (line.gpu_percent, line.gpu_mhz, line.memory_percent) == (None, None, None)
    assert len(line.cpu_percent) == 14
    clocks = parse_line(THOR_GPU_PART)
    assert (clocks.gpu_percent, clocks.gpu_mhz) == (None, 1000)


def test_a_tx2_says_load_and_clock_of_its_gpu() -> None:
    line = parse_line(TX2_JETPACK_4)
    assert line.power_w["VDD_IN"] == 5.297 and "VDD_4V0_WIFI" in line.power_w
    assert (line.gpu_percent, line.gpu_mhz, line.memory_mhz) == (0, 114, 1866)


@pytest.mark.parametrize(
    ("line", "rails"),
    [
        (XAVIER_JETPACK_4, ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V")),
        (ORIN_JETPACK_5, ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")),
        (ORIN_JETPACK_6, ("VDD_IN",)),
        (ORIN_JETPACK_7, ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")),
        (THOR_JETPACK_7, ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")),
        ("VDD_SOME 1mW/1mW", ()),
    ],
)
def test_each_board_s_rails_are_known_and_those_of_another_are_not_guessed(line: str, rails: tuple[str, ...]) -> None:
    assert total_rails(parse_line(line).power_w) == rails


def test_cores_that_are_off_have_no_load_and_do_not_count_for_the_mean_clock() -> None:
    line = parse_line("CPU [12%@1000,off,off,8%@2000] GR3D_FREQ 5%")
    assert line.cpu_percent == (12, None, None, 8)
    assert line.sample().clocks_mhz == {"cpu": 1500.0}


@pytest.mark.parametrize("line", ["", "tegrastats: command not found", "RAM ?/?MB CPU [] VDD_IN mW/mW cpu@C"])
def test_a_line_of_something_else_gives_nothing_and_no_error(line: str) -> None:
    assert parse_line(line) in (TegrastatsLine(), TegrastatsLine(cpu_percent=(None,), cpu_mhz=(None,)))


def test_a_running_program_is_read_line_by_line_and_ends_when_it_is_closed(tmp_path: Path) -> None:
    program = tmp_path / "tegrastats"
    program.write_text(
        f"#!{sys.executable}\nimport sys, time\nassert sys.argv[1:] == ['--interval', '50'], sys.argv\n"
        f"print({ORIN_JETPACK_6!r}, flush=True)\ntime.sleep(60)\n"
    )
    program.chmod(0o755)
    source = Tegrastats(str(program), 0.05)
    sample = source.read()
    assert sample is not None and sample.power_w["VDD_IN"] == 12.479 and sample.clocks_mhz["gpu"] == 621.0
    source.close()
    assert source.read() is None
