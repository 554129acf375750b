"""The table gives the peaks that NVIDIA's documents print, and guesses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from swin_deploy.benchmark.devices import DEVICES, Device, board_model, published
from swin_deploy.benchmark.roofline import Ceilings

# What documents print, in 1e12 operations a second, sparse ones halved: name, FP32, FP16 with FP16 accumulation, INT8.
PRINTED = [
    ("Jetson-AGX", None, 11, 22),
    ("NVIDIA Jetson Orin Nano Developer Kit", 1.28, 10, 20),
    ("NVIDIA Jetson Orin Nano Developer Kit Super", 2.08, 17, 33),
    # 80 of its 157 are the DLA's.
    ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit Super", None, None, (157 - 80) / 2),
    ("NVIDIA Jetson AGX Orin Developer Kit", 5.3, None, 170 / 2),
    ("NVIDIA GeForce RTX 3070", None, 81.3, 162.6),
    ("NVIDIA GeForce RTX 3090", 35.6, 142, 284),
    ("NVIDIA GeForce RTX 4090", 82.6, 330.3, 660.6),
    ("NVIDIA GeForce RTX 5090", 105, 419, 838),
    ("Tesla T4", 8.1, 65, 130),
    ("NVIDIA A10", 31.2, 125, 250),
    ("NVIDIA A100-SXM4-40GB", 19.5, 312, 624),
    ("NVIDIA A100-SXM4-80GB", 19.5, 312, 624),
    ("NVIDIA A100 80GB PCIe", 19.5, 312, 624),
    ("NVIDIA L4", 30.3, 242 / 2, 485 / 2),
    ("NVIDIA H100 80GB HBM3", 66.9, 989.4, 1978.9),
    ("NVIDIA H100 PCIe", 51, 1513 / 2, 3026 / 2),
]
# CUDA cores and the clock they have, in GHz: a multiply-add a core and cycle.
CORES = [
    ("Jetson-AGX", 512, 1.377),
    ("NVIDIA Jetson Orin Nano Developer Kit", 1024, 0.625),
    ("NVIDIA Jetson Orin Nano Developer Kit Super", 1024, 1.020),
    ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit Super", 1024, 1.173),
    ("NVIDIA Jetson AGX Orin Developer Kit", 2048, 1.3),
    ("NVIDIA Jetson AGX Thor Developer Kit", 2560, 1.57),
    ("NVIDIA GeForce RTX 3070", 5888, 1.73),
    ("NVIDIA GeForce RTX 3090", 10496, 1.70),
    ("NVIDIA GeForce RTX 4090", 16384, 2.52),
    ("NVIDIA GeForce RTX 5070", 6144, 2.51),
    ("NVIDIA GeForce RTX 5080", 10752, 2.62),
    ("NVIDIA GeForce RTX 5090", 21760, 2.41),
    ("Tesla T4", 2560, 1.59),
    ("NVIDIA A10", 9216, 1.695),
    ("NVIDIA A100-SXM4-40GB", 6912, 1.41),
    ("NVIDIA A100-SXM4-80GB", 6912, 1.41),
    ("NVIDIA A100 80GB PCIe", 6912, 1.41),
    ("NVIDIA L4", 7424, 2.04),
    ("NVIDIA H100 80GB HBM3", 16896, 1.98),  # its tensor cores have 1.83
    ("NVIDIA H100 PCIe", 14592, 1.755),
]
# Memory: bits wide and 1e9 transfers a second.
MEMORY = [
    ("Jetson-AGX", 256, 4.266),
    ("NVIDIA Jetson Orin Nano Developer Kit", 128, 4.266),
    ("NVIDIA Jetson Orin Nano Developer Kit Super", 128, 6.398),
    ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit Super", 128, 6.4),
    ("NVIDIA Jetson AGX Orin Developer Kit", 256, 6.4),
    ("NVIDIA Jetson AGX Thor Developer Kit", 256, 8.532),
    ("NVIDIA GeForce RTX 3070", 256, 14),
    ("NVIDIA GeForce RTX 3090", 384, 19.5),
    ("NVIDIA GeForce RTX 4090", 384, 21),
    ("NVIDIA GeForce RTX 5070", 192, 28),
    ("NVIDIA GeForce RTX 5080", 256, 30),
    ("NVIDIA GeForce RTX 5090", 512, 28),
    ("Tesla T4", 256, 10),
    ("NVIDIA A10", 384, 12.5),
    ("NVIDIA A100-SXM4-40GB", 5120, 2.43),
    ("NVIDIA A100-SXM4-80GB", 5120, 3.186),
    ("NVIDIA L4", 192, 12.5),
    ("NVIDIA H100 80GB HBM3", 5120, 5.238),
    ("NVIDIA H100 PCIe", 5120, 3.186),
]
# "AI TOPS" of the product pages, sparse: twice the dense FP8 for the RTX 40, for the RTX 50 of FP4, four times.
AI_TOPS = [
    ("NVIDIA GeForce RTX 4090", 1321, 2),
    ("NVIDIA GeForce RTX 5070", 988, 4),
    ("NVIDIA GeForce RTX 5080", 1801, 4),
    ("NVIDIA GeForce RTX 5090", 3352, 4),
]
TABLE = Path(__file__).parents[2] / "docs" / "benchmark.md"
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")


def device_of(name: str) -> Device:
    (device,) = (device for device in DEVICES if device.name == name)
    return device


@pytest.mark.parametrize(("name", "fp32", "fp16", "int8"), PRINTED)
def test_peaks_are_those_that_are_printed(name: str, fp32: float | None, fp16: float | None, int8: float) -> None:
    for precision, printed in (("fp32", fp32), ("fp16", fp16), ("int8", int8)):
        if printed is not None:
            assert device_of(name).peak(precision) / 1e12 == pytest.approx(printed, rel=0.03), precision


@pytest.mark.parametrize(("name", "cores", "ghz"), CORES)
def test_fp32_is_two_operations_a_core_and_cycle(name: str, cores: int, ghz: float) -> None:
    assert device_of(name).peak("fp32") == pytest.approx(2 * cores * ghz * 1e9, rel=0.005)


@pytest.mark.parametrize(("name", "bits", "rate"), MEMORY)
def test_bandwidth_is_the_memorys_width_times_its_rate(name: str, bits: int, rate: float) -> None:
    assert device_of(name).gigabytes == pytest.approx(bits / 8 * rate, rel=0.005)


@pytest.mark.parametrize(("name", "tops", "times"), AI_TOPS)
def test_fp8_is_what_the_product_pages_make_their_tops_of(name: str, tops: float, times: int) -> None:
    assert device_of(name).peak("fp8") * times / 1e12 == pytest.approx(tops, rel=0.001)


def test_every_row_is_held_to_its_cores_and_its_memory() -> None:
    names = {device.name for device in DEVICES}
    assert {name for name, *_ in CORES} == names
    assert {name for name, *_ in MEMORY} == names - {"NVIDIA A100 80GB PCIe"}  # whose memory clock was not found


def test_bf16_is_half_of_fp16_on_geforce_and_equal_elsewhere() -> None:
    for device in DEVICES:
        share = device.peak("bf16") / device.peak("fp16")
        older = device.name in ("Jetson-AGX", "Tesla T4")
        assert share == (0 if older else 0.5 if "GeForce" in device.name else 1), device.name


def test_thors_fp8_is_a_quarter_of_its_sparse_fp4() -> None:
    thor = device_of("NVIDIA Jetson AGX Thor Developer Kit")
    assert thor.peak("fp8") / 1e12 == pytest.approx(2070 / 4, rel=0.01)
    assert "int8" not in thor.ceilings().rates


def test_the_documents_table_is_the_codes() -> None:
    section = TABLE.read_text(encoding="utf-8").split("### Published devices")[1].split("\n\n")
    (table,) = (part for part in section if part.startswith("| device |"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    peaks = [[device.peak(precision) / 1e12 for precision in PRECISIONS] for device in DEVICES]
    assert [[*row[:7], row[-1]] for row in rows] == [
        [device.name, f"{device.gigabytes:.0f}", *(f"{each:.1f}" if each else "-" for each in peak), device.source]
        for device, peak in zip(DEVICES, peaks, strict=True)
    ]


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
        ("Orin", "NVIDIA Jetson AGX Orin Developer Kit", "NVIDIA Jetson AGX Orin Developer Kit"),
        ("Orin", "NVIDIA Jetson Orin Nano Developer Kit", "NVIDIA Jetson Orin Nano Developer Kit"),
        ("Orin", "NVIDIA Jetson Orin Nano Developer Kit Super", "NVIDIA Jetson Orin Nano Developer Kit Super"),
        ("NVIDIA Thor", "NVIDIA Jetson AGX Thor Developer Kit", "NVIDIA Jetson AGX Thor Developer Kit"),
        ("Xavier", "Jetson-AGX", "Jetson-AGX"),
    ],
)
def test_a_device_is_found_by_the_drivers_name_or_its_board(gpu: str, board: str, name: str) -> None:
    assert named(gpu, board) == name


@pytest.mark.parametrize(
    "gpu", ["NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 3070 Ti", "NVIDIA GeForce RTX", "Orin", ""]
)
def test_a_device_that_is_only_alike_is_not_taken_for_another(gpu: str) -> None:
    assert named(gpu) is None


@pytest.mark.parametrize(
    "board",
    [
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",  # 8 GB or 4 GB
        "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",  # 16 GB or 8 GB, of other clocks
        "NVIDIA Jetson AGX Orin",
        "NVIDIA Jetson AGX Orin Developer Kit Super",
        "",
    ],
)
def test_a_board_that_may_have_several_modules_has_no_ceilings(board: str) -> None:
    assert named("Orin", board) is None


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
