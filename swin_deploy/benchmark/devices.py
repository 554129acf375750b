"""What NVIDIA publishes of its devices, for the roofline where nothing can be measured.

A device is its streaming multiprocessors, their clock and its memory bandwidth, as its data sheet has them; a peak is
multiprocessors x clock x operations a cycle of its generation. That gives the peaks that the same documents print,
dense and without sparsity: a test holds the two together. FP16 is with FP16 accumulation, which GeForce cards do twice
as fast as with FP32 accumulation; other devices do both alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swin_deploy.benchmark.roofline import Ceilings

__all__ = ["DEVICES", "Device", "board_model", "published"]

_BOARD = Path("/proc/device-tree/model")


@dataclass(frozen=True)
class Generation:
    """Operations of one multiprocessor in one cycle, a multiply-add being two; 0 where it has none.

    Attributes:
        fp32: On the CUDA cores, as the FP32 of this toolkit is computed: TF32 is off.
        fp16: On the tensor cores; BF16 has the same rate where it is there at all.
        int8: Likewise, dense.
        fp8: Likewise, dense.
        bf16: Whether there is BF16.
    """

    fp32: int
    fp16: int
    int8: int
    fp8: int = 0
    bf16: bool = True


# Multiply-adds a cycle are in the architecture papers named below; Jetson's Ampere has the tensor cores of the A100.
_VOLTA = Generation(128, 1024, 2048, bf16=False)  # Xavier, whose tensor cores have INT8
_TURING = Generation(128, 1024, 2048, bf16=False)
_AMPERE_SERVER = Generation(128, 2048, 4096)
_AMPERE = Generation(256, 1024, 2048)
_AMPERE_JETSON = Generation(256, 2048, 4096)
_ADA = Generation(256, 1024, 2048, 2048)
_HOPPER = Generation(277, 4096, 8192, 8192)  # 256 a cycle, in 1.082 times as many: its tensor cores boost less high
_BLACKWELL = Generation(256, 1024, 2048, 2048)
_BLACKWELL_JETSON = Generation(256, 8192, 0, 16384)  # INT8 is not in its data sheet


@dataclass(frozen=True)
class Device:
    """One row of the table.

    Attributes:
        name: As the driver gives it; for a Jetson, a part of its board's model, since the driver names the chip alone.
        generation: What a multiprocessor does in a cycle.
        multiprocessors: How many there are.
        ghz: Boost clock, or for a Jetson the clock of its highest power mode.
        gigabytes: 1e9 bytes a second.
        source: NVIDIA's document.
    """

    name: str
    generation: Generation
    multiprocessors: int
    ghz: float
    gigabytes: float
    source: str

    def peak(self, precision: str) -> float:
        """Operations a second; 0 where it has no such arithmetic, or none is published."""
        kind = self.generation
        each = {"fp32": kind.fp32, "fp16": kind.fp16, "bf16": kind.fp16 * kind.bf16, "int8": kind.int8, "fp8": kind.fp8}
        return each[precision] * self.multiprocessors * self.ghz * 1e9

    def ceilings(self) -> Ceilings:
        """As the roofline takes them."""
        peaks = {precision: self.peak(precision) for precision in ("fp32", "fp16", "bf16", "int8", "fp8")}
        return Ceilings(
            self.name, self.source, self.gigabytes * 1e9, {key: peak for key, peak in peaks.items() if peak}
        )


_XAVIER = "Jetson AGX Xavier Series data sheet"
_ORIN = "Jetson AGX Orin Series technical brief 1.2, 64 GB"
_ORIN_NX = "Jetson Orin NX Series data sheet, 16 GB"
_ORIN_NANO = "Jetson Orin Nano Series data sheet, 8 GB"
_THOR = "Jetson Thor Series data sheet, T5000"
_GA102 = "NVIDIA Ampere GA102 GPU architecture paper 2.0"
_GEFORCE = "geforce.com product page"
_AD102 = "NVIDIA Ada GPU architecture paper 2.01"
_GB202 = "NVIDIA RTX Blackwell GPU architecture paper 1.1"

DEVICES = (
    Device("Jetson AGX Xavier", _VOLTA, 8, 1.377, 136.5, _XAVIER),
    Device("Jetson Orin Nano Developer Kit Super", _AMPERE_JETSON, 8, 1.020, 102.4, _ORIN_NANO),
    Device("Jetson Orin Nano", _AMPERE_JETSON, 8, 0.625, 68.3, _ORIN_NANO),
    Device("Jetson Orin NX", _AMPERE_JETSON, 8, 0.918, 102.4, _ORIN_NX),
    Device("Jetson AGX Orin", _AMPERE_JETSON, 16, 1.300, 204.8, _ORIN),
    Device("Jetson AGX Thor", _BLACKWELL_JETSON, 20, 1.575, 273.0, _THOR),
    Device("NVIDIA GeForce RTX 3060", _AMPERE, 28, 1.777, 360.0, f"{_GEFORCE}, 12 GB"),
    Device("NVIDIA GeForce RTX 3070", _AMPERE, 46, 1.725, 448.0, _GA102),
    Device("NVIDIA GeForce RTX 3080", _AMPERE, 68, 1.710, 760.3, f"{_GA102}, 10 GB"),
    Device("NVIDIA GeForce RTX 3090", _AMPERE, 82, 1.695, 936.2, _GA102),
    Device("NVIDIA GeForce RTX 4060", _ADA, 24, 2.460, 272.0, _GEFORCE),
    Device("NVIDIA GeForce RTX 4070", _ADA, 46, 2.475, 504.2, _GEFORCE),
    Device("NVIDIA GeForce RTX 4080", _ADA, 76, 2.505, 716.8, _AD102),
    Device("NVIDIA GeForce RTX 4090", _ADA, 128, 2.520, 1008.0, _AD102),
    Device("NVIDIA GeForce RTX 5070", _BLACKWELL, 48, 2.512, 672.0, _GB202),
    Device("NVIDIA GeForce RTX 5080", _BLACKWELL, 84, 2.617, 960.0, _GB202),
    Device("NVIDIA GeForce RTX 5090", _BLACKWELL, 170, 2.407, 1792.0, _GB202),
    Device("Tesla T4", _TURING, 40, 1.590, 320.0, "NVIDIA T4 data sheet"),
    Device("NVIDIA A10", _AMPERE, 72, 1.695, 600.0, "NVIDIA A10 data sheet"),
    Device("NVIDIA A100-SXM4-40GB", _AMPERE_SERVER, 108, 1.410, 1555.0, "NVIDIA A100 data sheet"),
    Device("NVIDIA A100-SXM4-80GB", _AMPERE_SERVER, 108, 1.410, 2039.0, "NVIDIA A100 data sheet"),
    Device("NVIDIA A100 80GB PCIe", _AMPERE_SERVER, 108, 1.410, 1935.0, "NVIDIA A100 data sheet"),
    Device("NVIDIA L4", _ADA, 58, 2.040, 300.0, f"{_AD102}, L4"),
    Device("NVIDIA H100 80GB HBM3", _HOPPER, 132, 1.830, 3352.0, "NVIDIA H100 architecture paper 1.04, SXM5"),
    Device("NVIDIA H100 PCIe", _HOPPER, 114, 1.620, 2039.0, "NVIDIA H100 architecture paper 1.04, PCIe"),
)
"""Every device with figures, Jetsons first."""


def published(gpu: str, board: str = "") -> Ceilings | None:
    """The ceilings of a device, or `None` for one that the table does not have.

    A laptop's, a `SUPER`'s or a `Ti`'s card has another name and is another device: nothing is guessed from a likeness.

    Args:
        gpu: The GPU's name as the driver gives it.
        board: `board_model()`.
    """
    for device in DEVICES:
        if device.name == gpu or (device.name.startswith("Jetson") and device.name in board):
            return device.ceilings()
    return None


def board_model(path: Path = _BOARD) -> str:
    """The board's model as its device tree has it, e.g. `NVIDIA Jetson AGX Orin Developer Kit`; empty elsewhere."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\0").strip()
    except OSError:
        return ""
