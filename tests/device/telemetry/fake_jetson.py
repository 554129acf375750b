"""A Jetson's files in a folder: power monitors, thermal zones, the GPU's clock, nvpmodel."""

from __future__ import annotations

from pathlib import Path

NVPMODEL_CONF = """\
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
CPU_ONLINE CORE_0 1
< PM_CONFIG DEFAULT=1 >
"""


def write(root: Path, files: dict[str, object]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n", encoding="utf-8")


def rail(folder: str, channel: int, label: str, millivolts: int, milliamperes: int) -> dict[str, object]:
    """One channel of an INA3221 as the kernel's driver shows it."""
    return {
        f"{folder}/in{channel}_label": label,
        f"{folder}/in{channel}_input": millivolts,
        f"{folder}/curr{channel}_input": milliamperes,
        f"{folder}/curr{channel}_crit": 9999,
        f"{folder}/curr{channel}_crit_alarm": 0,
        f"{folder}/curr{channel}_max_alarm": 0,
    }


INA = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
GPU = "sys/class/devfreq/17000000.gpu"
ZONES = "sys/class/thermal/thermal_zone"
ALERT = "sys/class/thermal/cooling_device4"
COUNTER = "sys/class/hwmon/hwmon3/oc1_event_cnt"


def orin_nano(root: Path) -> Path:
    """An Orin Nano: 5 V at 1 A, of which CPU and GPU take 0.5 A."""
    write(
        root,
        {
            **rail(INA, 1, "VDD_IN", 5000, 1000),
            **rail(INA, 2, "VDD_CPU_GPU_CV", 5000, 500),
            **rail(INA, 3, "VDD_SOC", 4800, 250),
            f"{INA}/in4_input": 5,  # shunt voltages have no label
            f"{INA}/in7_label": "sum of shunt voltages",
            f"{INA}/in7_input": 12,
            **rail("sys/bus/i2c/drivers/ina3221/1-0041/hwmon/hwmon2", 1, "NC", 0, 0),
            f"{ZONES}0/type": "cpu-thermal",
            f"{ZONES}0/temp": 48500,
            f"{ZONES}1/type": "gpu-thermal",
            f"{ZONES}1/temp": 47000,
            f"{ZONES}1/trip_point_0_type": "active",
            f"{ZONES}1/trip_point_0_temp": 51000,
            f"{ZONES}1/trip_point_1_type": "passive",
            f"{ZONES}1/trip_point_1_temp": 99000,
            f"{ZONES}1/trip_point_2_type": "critical",
            f"{ZONES}1/trip_point_2_temp": 104500,
            f"{ZONES}2/type": "cv0-thermal",
            f"{ZONES}2/temp": -256000,
            f"{ALERT}/type": "gpu-throttle-alert",
            f"{ALERT}/cur_state": 0,
            "sys/class/thermal/cooling_device0/type": "pwm-fan",
            "sys/class/thermal/cooling_device0/cur_state": 3,
            COUNTER: 7,
            f"{GPU}/cur_freq": 612000000,
            f"{GPU}/min_freq": 306000000,
            f"{GPU}/max_freq": 624750000,
            f"{GPU}/available_frequencies": "306000000 408000000 510000000 612000000 1020000000",
            f"{GPU}/device/load": 421,
            "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": 1510400,
            "sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq": 729600,
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64",
            "etc/nvpmodel.conf": NVPMODEL_CONF,
            "var/lib/nvpmodel/status": "pmode:0000",
        },
    )
    return root
