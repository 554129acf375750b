"""What NVIDIA publishes of its devices, for the roofline where nothing can be measured.

A device is its streaming multiprocessors, their clock and its memory bandwidth, as its document has them; a peak is
multiprocessors x clock x operations a cycle of its generation, dense, without sparsity. FP16 and FP8 are with FP16
accumulation everywhere. With FP32 accumulation GeForce cards do half, and other devices the same; BF16 has no other
accumulation, so that on GeForce it is half of FP16. Where two devices share a name that the driver gives, with other
figures, there is no row, or the row says which one it is.
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
        fp16: On the tensor cores, accumulating in FP16.
        bf16: Likewise, accumulating in FP32.
        int8: Likewise, accumulating in INT32.
        fp8: Likewise, accumulating in FP16.
    """

    fp32: int
    fp16: int
    bf16: int
    int8: int
    fp8: int = 0


# From the peaks of the documents named below; Jetson's Ampere has the tensor cores of the A100.
_VOLTA = Generation(128, 1024, 0, 2048)  # Xavier, whose tensor cores have INT8
_TURING = Generation(128, 1024, 0, 2048)
_AMPERE_SERVER = Generation(128, 2048, 2048, 4096)
_AMPERE = Generation(256, 1024, 1024, 2048)
_AMPERE_GEFORCE = Generation(256, 1024, 512, 2048)
_AMPERE_JETSON = Generation(256, 2048, 2048, 4096)
_ADA = Generation(256, 1024, 1024, 2048, 2048)
_ADA_GEFORCE = Generation(256, 1024, 512, 2048, 2048)
_HOPPER = Generation(277, 4096, 4096, 8192, 8192)  # 256 a cycle, in 1.082 times as many: its tensor cores boost less
_BLACKWELL_GEFORCE = Generation(256, 1024, 512, 2048, 2048)
_BLACKWELL_JETSON = Generation(256, 8192, 8192, 0, 16384)  # INT8 is not in its data sheet


@dataclass(frozen=True)
class Device:
    """One row of the table.

    Attributes:
        name: As the driver gives it; for a Jetson its board's model, since the driver names the chip alone.
        generation: What a multiprocessor does in a cycle.
        multiprocessors: How many there are.
        ghz: Boost clock, or for a Jetson the clock of its highest power mode.
        gigabytes: 1e9 bytes a second.
        source: NVIDIA's document, and which of the devices of that name.
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
        each = {"fp32": kind.fp32, "fp16": kind.fp16, "bf16": kind.bf16, "int8": kind.int8, "fp8": kind.fp8}
        return each[precision] * self.multiprocessors * self.ghz * 1e9

    def ceilings(self) -> Ceilings:
        """As the roofline takes them."""
        peaks = {precision: self.peak(precision) for precision in ("fp32", "fp16", "bf16", "int8", "fp8")}
        return Ceilings(
            self.name, self.source, self.gigabytes * 1e9, {key: peak for key, peak in peaks.items() if peak}
        )


_XAVIER = "Jetson AGX Xavier specifications, 32 GB"
_ORIN_NANO = "Jetson Orin Nano Series data sheet DS-11105-001 1.5, 8 GB"
_ORIN_NX = "Jetson Orin NX Series data sheet DS-10712-001 1.7, 8 GB and 16 GB in MAXN_SUPER"
_ORIN = "Jetson AGX Orin Series data sheet DS-10662-001 1.8, 64 GB; the 32 GB module has 14 at 0.939 GHz"
_THOR = "Jetson Thor Series data sheet DS-11945-001 1.5, T5000"
_GA102 = "NVIDIA Ampere GA102 GPU architecture paper 2.0"
_ADA_PAPER = "NVIDIA Ada GPU architecture paper 2.02, appendix A"
_BLACKWELL_PAPER = "NVIDIA RTX Blackwell GPU architecture paper; GeForce RTX 50 product pages"
_T4 = "NVIDIA T4 data sheet; bandwidth and clock of its product brief, the data sheet has 300 GB/s"
_A100_PAPER = "NVIDIA A100 architecture paper, table 4"
_A100 = "NVIDIA A100 data sheet; clock of the architecture paper"
_H100 = "NVIDIA H100 architecture paper"

DEVICES = (
    Device("Jetson-AGX", _VOLTA, 8, 1.377, 136.5, _XAVIER),  # so JetPack 4 and 5 name the AGX Xavier
    Device("NVIDIA Jetson Orin Nano Developer Kit", _AMPERE_JETSON, 8, 0.625, 68.0, _ORIN_NANO),
    Device("NVIDIA Jetson Orin Nano Developer Kit Super", _AMPERE_JETSON, 8, 1.020, 102.0, f"{_ORIN_NANO}, MAXN_SUPER"),
    Device(
        "NVIDIA Jetson Orin NX Engineering Reference Developer Kit Super", _AMPERE_JETSON, 8, 1.173, 102.0, _ORIN_NX
    ),
    Device("NVIDIA Jetson AGX Orin Developer Kit", _AMPERE_JETSON, 16, 1.300, 204.8, _ORIN),
    Device("NVIDIA Jetson AGX Thor Developer Kit", _BLACKWELL_JETSON, 20, 1.575, 273.0, _THOR),
    Device("NVIDIA GeForce RTX 3070", _AMPERE_GEFORCE, 46, 1.725, 448.0, _GA102),
    Device("NVIDIA GeForce RTX 3090", _AMPERE_GEFORCE, 82, 1.695, 936.0, _GA102),
    Device("NVIDIA GeForce RTX 4090", _ADA_GEFORCE, 128, 2.520, 1008.0, _ADA_PAPER),
    Device("NVIDIA GeForce RTX 5070", _BLACKWELL_GEFORCE, 48, 2.512, 672.0, _BLACKWELL_PAPER),
    Device("NVIDIA GeForce RTX 5080", _BLACKWELL_GEFORCE, 84, 2.617, 960.0, _BLACKWELL_PAPER),
    Device("NVIDIA GeForce RTX 5090", _BLACKWELL_GEFORCE, 170, 2.407, 1792.0, _BLACKWELL_PAPER),
    Device("Tesla T4", _TURING, 40, 1.590, 320.0, _T4),
    Device("NVIDIA A10", _AMPERE, 72, 1.695, 600.0, "NVIDIA A10 data sheet"),
    Device("NVIDIA A100-SXM4-40GB", _AMPERE_SERVER, 108, 1.410, 1555.0, _A100_PAPER),
    Device("NVIDIA A100-SXM4-80GB", _AMPERE_SERVER, 108, 1.410, 2039.0, _A100),
    Device("NVIDIA A100 80GB PCIe", _AMPERE_SERVER, 108, 1.410, 1935.0, _A100),
    Device("NVIDIA L4", _ADA, 58, 2.040, 300.0, "NVIDIA L4 data sheet"),
    Device("NVIDIA H100 80GB HBM3", _HOPPER, 132, 1.830, 3352.0, f"{_H100}, SXM5"),
    Device("NVIDIA H100 PCIe", _HOPPER, 114, 1.620, 2039.0, f"{_H100}, PCIe"),
)
"""Every device with figures, Jetsons first."""


def published(gpu: str, board: str = "") -> Ceilings | None:
    """The ceilings of a device, or `None` for one that the table does not have.

    Names are compared whole. A laptop's, a `SUPER`'s or a `Ti`'s card is another device, a Jetson in its Super
    configuration has another clock, and one of an "Engineering Reference" name may have any module of its series.

    Args:
        gpu: The GPU's name as the driver gives it.
        board: `board_model()`.
    """
    for device in DEVICES:
        if device.name in (gpu, board):
            return device.ceilings()
    return None


def board_model(path: Path = _BOARD) -> str:
    """The board's model as its device tree has it, e.g. `NVIDIA Jetson AGX Orin Developer Kit`; empty elsewhere."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\0").strip()
    except OSError:
        return ""
