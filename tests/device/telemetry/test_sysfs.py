"""A Jetson's own files, in a folder that imitates them."""

from __future__ import annotations

from pathlib import Path

import pytest

from swin_deploy.device.telemetry.board import board_name, jetson_linux
from swin_deploy.device.telemetry.gpu_clock import find_gpu_clock
from swin_deploy.device.telemetry.nvpmodel import power_mode, power_modes
from swin_deploy.device.telemetry.power_monitors import find_monitors
from swin_deploy.device.telemetry.sysfs import open_sysfs
from swin_deploy.device.telemetry.throttling import ThrottleWatch
from tests.device.telemetry.fake_jetson import ALERT, COUNTER, GPU, INA, ZONES, orin_nano, rail, write


@pytest.fixture()
def root(tmp_path: Path) -> Path:
    return orin_nano(tmp_path)


def test_power_is_voltage_times_current_and_only_of_connected_rails(root: Path) -> None:
    source = open_sysfs(root)
    assert source is not None
    sample = source.read()
    assert sample is not None
    # 5 V x 1 A, 5 V x 0.5 A, 4.8 V x 0.25 A
    assert sample.power_w == {"VDD_IN": 5.0, "VDD_CPU_GPU_CV": 2.5, "VDD_SOC": 1.2}
    assert sample.temperatures_c == {"cpu": 48.5, "gpu": 47.0}, "and the sensor that is off is left out"
    assert sample.clocks_mhz == {"gpu": 612.0, "cpu": 1120.0}


def test_a_thor_s_ina238_is_a_rail_like_any_other(tmp_path: Path) -> None:
    write(tmp_path, rail("sys/bus/i2c/drivers/ina238/9-0044/hwmon/hwmon5", 1, "VIN", 20000, 3500))
    assert [(monitor.rail, monitor.watts()) for monitor in find_monitors(tmp_path)] == [("VIN", 70.0)]


def test_a_rail_that_does_not_answer_now_is_left_out_of_this_sample(root: Path) -> None:
    source = open_sysfs(root)
    assert source is not None
    (root / INA / "curr2_input").write_text("")
    assert set(source.read().power_w) == {"VDD_IN", "VDD_SOC"}
    (root / INA / "in3_input").unlink()
    assert set(source.read().power_w) == {"VDD_IN"}


def test_a_computer_with_thermal_zones_alone_is_no_jetson(tmp_path: Path) -> None:
    write(tmp_path, {f"{ZONES}0/type": "x86_pkg_temp", f"{ZONES}0/temp": 40000})
    assert open_sysfs(tmp_path) is None


def test_the_mode_has_its_name_from_the_configuration(root: Path) -> None:
    assert power_modes(root) == {0: "15W", 1: "25W", 2: "MAXN_SUPER"}
    assert power_mode(root) == "15W"
    write(root, {"var/lib/nvpmodel/status": "pmode:0002 fmode:fan_mode_quiet"})
    assert power_mode(root) == "MAXN_SUPER"
    write(root, {"var/lib/nvpmodel/status": "pmode:0009"})
    assert power_mode(root) == "mode 9"


def test_without_a_status_file_nvpmodel_itself_is_asked(tmp_path: Path) -> None:
    assert power_mode(tmp_path, lambda: "NV Power Mode: MAXN\n0\n") == "MAXN"
    assert power_mode(tmp_path, lambda: "NVPM ERROR: failed to read PARAM GPU: ARG FREQ_TABLE") == ""
    assert power_mode(tmp_path) == ""


def test_the_board_and_its_release_are_read_without_their_padding(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert board_name(root) == "NVIDIA Jetson Orin Nano Developer Kit"
    assert jetson_linux(root) == "36.4.3"
    nothing = tmp_path_factory.mktemp("nothing")
    assert board_name(nothing) == jetson_linux(nothing) == ""


@pytest.mark.parametrize("folder", ["17000000.gpu", "17000000.ga10b", "17000000.gv11b", "gpu-gpc-0"])
def test_the_gpu_s_clock_is_found_under_each_of_its_names(tmp_path: Path, folder: str) -> None:
    write(tmp_path, {f"sys/class/devfreq/{folder}/cur_freq": 306000000, "sys/class/devfreq/154c0000.nvenc/cur_freq": 1})
    clock = find_gpu_clock(tmp_path)
    assert clock is not None and clock.current_mhz() == 306.0


def test_the_mode_s_bound_and_the_gpu_s_own_are_two_things(root: Path) -> None:
    clock = find_gpu_clock(root)
    assert clock is not None
    assert (clock.bound_mhz(), clock.highest_mhz(), clock.load_percent()) == (624.75, 1020.0, 42.1)


def watched(root: Path, change: dict[str, object]) -> tuple[str, ...]:
    watch = ThrottleWatch(root)
    write(root, change)
    watch.look()
    return watch.sentences()


def test_a_calm_board_gives_no_sentence_although_its_fan_turns_and_its_idle_gpu_is_slow(root: Path) -> None:
    assert watched(root, {f"{GPU}/cur_freq": 306000000, f"{GPU}/device/load": 20}) == ()


def test_an_orin_s_warning_of_a_hot_surface_is_no_throttling(root: Path) -> None:
    surface = {"type": "hot-surface-alert", "cur_state": 1}
    write(
        root,
        {
            **{f"sys/class/thermal/cooling_device9/{name}": value for name, value in surface.items()},
            f"{ZONES}1/trip_point_3_type": "passive",
            f"{ZONES}1/trip_point_3_temp": 70000,
            **{f"{ZONES}1/cdev0/{name}": value for name, value in surface.items()},
            f"{ZONES}1/cdev0_trip_point": 3,
            f"{ZONES}1/cdev1/type": "gpu-throttle-alert",
            f"{ZONES}1/cdev1_trip_point": 1,
        },
    )
    assert watched(root, {f"{ZONES}1/temp": 75000}) == ()
    assert "99 C" in watched(root, {f"{ZONES}1/temp": 99500})[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({f"{ZONES}1/temp": 99000}, ("gpu", "99 C", "cool")),
        ({f"{ALERT}/cur_state": 1}, ("gpu-throttle", "heat")),
        ({f"{INA}/curr1_crit_alarm": 1}, ("VDD_IN", "critical", "9999 mA")),
        ({f"{INA}/curr2_max_alarm": 1}, ("VDD_CPU_GPU_CV", "warning")),
        ({COUNTER: 9}, ("2 over-current events", "power mode")),
        ({COUNTER: 8}, ("1 over-current event,",)),
        ({f"{GPU}/cur_freq": 306000000, f"{GPU}/device/load": 990}, ("busy", "625 MHz", "jetson_clocks")),
    ],
)
def test_each_sign_of_throttling_gives_a_sentence(
    root: Path, change: dict[str, object], words: tuple[str, ...]
) -> None:
    (sentence,) = watched(root, change)
    assert sentence.endswith(".") and sentence[0].isupper()
    for word in words:
        assert word in sentence, sentence


def test_events_counted_before_do_not_count(root: Path) -> None:
    write(root, {COUNTER: 813})
    assert ThrottleWatch(root).sentences() == ()


def test_a_sign_seen_many_times_is_said_once(root: Path) -> None:
    write(root, {f"{ALERT}/cur_state": 2})
    watch = ThrottleWatch(root)
    for _ in range(5):
        watch.look()
    assert len(watch.sentences()) == 1
