"""The table gives the peaks that NVIDIA's documents print, and guesses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from swin_deploy.benchmark.devices import DEVICES, board_model, published
from swin_deploy.benchmark.roofline import Ceilings

# Dense peaks in 1e12 operations a second, as printed (sparse ones halved): name, FP32, FP16, INT8.
PRINTED = [
    ("Jetson AGX Xavier", 1.4, 11, 22),
    ("Jetson AGX Orin", 5.3, 42.5, 85),  # 170 sparse INT8 of the GPU
    ("Jetson Orin NX", 1.88, 15, 30),
    ("Jetson Orin Nano", 1.28, 10, 20),  # 40 sparse
    ("Jetson Orin Nano Developer Kit Super", 2.1, 17, 33.5),  # 67 sparse
    ("NVIDIA GeForce RTX 3070", 20.3, 81.3, 162.6),
    ("NVIDIA GeForce RTX 3080", 29.8, 119, 238),
    ("NVIDIA GeForce RTX 3090", 35.6, 142, 284),
    ("NVIDIA GeForce RTX 4080", 48.7, 194.9, 389.9),
    ("NVIDIA GeForce RTX 4090", 82.6, 330.3, 660.6),
    ("NVIDIA GeForce RTX 5080", 56.3, 225.1, 450.2),
    ("NVIDIA GeForce RTX 5090", 104.8, 419, 838),
    ("Tesla T4", 8.1, 65, 130),
    ("NVIDIA A10", 31.2, 125, 250),
    ("NVIDIA A100-SXM4-40GB", 19.5, 312, 624),
    ("NVIDIA L4", 30.3, 121, 242.5),
    ("NVIDIA H100 80GB HBM3", 66.9, 989.4, 1978.9),
    ("NVIDIA H100 PCIe", 51.2, 756, 1513),
]


@pytest.mark.parametrize(("name", "fp32", "fp16", "int8"), PRINTED)
def test_peaks_are_those_that_are_printed(name: str, fp32: float, fp16: float, int8: float) -> None:
    (device,) = (device for device in DEVICES if device.name == name)
    found = [device.peak(precision) / 1e12 for precision in ("fp32", "fp16", "int8")]
    assert found == pytest.approx([fp32, fp16, int8], rel=0.03)


def test_thors_fp8_is_a_quarter_of_its_sparse_fp4() -> None:
    (thor,) = (device for device in DEVICES if "Thor" in device.name)
    assert thor.peak("fp8") / 1e12 == pytest.approx(2070 / 4, rel=0.01)
    assert "int8" not in thor.ceilings().rates


def test_every_row_names_its_document_and_no_name_is_there_twice() -> None:
    assert all(device.source and device.gigabytes > 0 for device in DEVICES)
    assert len({device.name for device in DEVICES}) == len(DEVICES)


def named(gpu: str, board: str = "") -> str | None:
    found: Ceilings | None = published(gpu, board)
    return None if found is None else found.device


@pytest.mark.parametrize(
    ("gpu", "board", "name"),
    [
        ("NVIDIA GeForce RTX 4090", "", "NVIDIA GeForce RTX 4090"),
        ("Orin", "NVIDIA Jetson AGX Orin Developer Kit", "Jetson AGX Orin"),
        ("Orin", "NVIDIA Jetson Orin Nano Developer Kit", "Jetson Orin Nano"),
        ("Orin", "NVIDIA Jetson Orin Nano Developer Kit Super", "Jetson Orin Nano Developer Kit Super"),
        ("NVIDIA Thor", "NVIDIA Jetson AGX Thor Developer Kit", "Jetson AGX Thor"),
    ],
)
def test_a_device_is_found_by_the_drivers_name_or_its_board(gpu: str, board: str, name: str) -> None:
    assert named(gpu, board) == name


@pytest.mark.parametrize(
    "gpu", ["NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4080 SUPER", "NVIDIA GeForce RTX", "Orin", ""]
)
def test_a_device_that_is_only_alike_is_not_taken_for_another(gpu: str) -> None:
    assert named(gpu) is None


def test_only_what_a_device_has_is_a_ceiling() -> None:
    turing, ampere = published("Tesla T4"), published("NVIDIA A10")
    assert turing is not None and ampere is not None
    assert set(turing.rates) == {"fp32", "fp16", "int8"}
    assert set(ampere.rates) == {"fp32", "fp16", "bf16", "int8"}
    assert turing.bandwidth == 320e9


def test_the_boards_model_is_read_without_its_closing_zero(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"NVIDIA Jetson AGX Orin Developer Kit\0")
    assert board_model(path) == "NVIDIA Jetson AGX Orin Developer Kit"
    assert board_model(tmp_path / "none") == ""
