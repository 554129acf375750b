"""An artifact: one file that a stage left and that a later stage or a backend reads."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Artifact", "Format", "Precision"]


class Format(enum.Enum):
    """What a file is, so that a stage can say what it accepts and a backend what it opens."""

    SOURCE = "source"  # the file the user brought, in any dialect
    CHECKPOINT = "checkpoint"  # canonical weights of the paper form, safetensors with the spec in its header
    DEPLOYMENT = "deployment"  # folded weights and constants, safetensors with the spec in its header
    CAPTURED = "captured"  # .pt2: a user's own network as an exported program, opened by torch alone
    AOTINDUCTOR = "aotinductor"  # .pt2: machine code and weights, loadable by torch alone
    ONNX = "onnx"
    RTX_PLAN = "rtx-plan"  # TensorRT for RTX engine
    TENSORRT_PLAN = "tensorrt-plan"  # TensorRT engine
    TORCH_TENSORRT_PLAN = "torch-tensorrt-plan"  # the engine that Torch-TensorRT converted


class Precision(enum.Enum):
    """The arithmetic an artifact asks for."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"  # Q/DQ around the linears, FP16 elsewhere
    FP8 = "fp8"  # likewise, in E4M3

    @property
    def quantized(self) -> bool:
        """Whether it is calibrated Q/DQ rather than a type of all tensors."""
        return self in (Precision.INT8, Precision.FP8)


@dataclass(frozen=True)
class Artifact:
    """One file with its lineage.

    Attributes:
        name: Unique in a run, and the stem of the file name, e.g. `fp16.onnx`.
        path: Where the file lies.
        format: What the file is.
        precision: The arithmetic it asks for.
        parent: Name of the artifact it was made from, `None` for the checkpoint.
    """

    name: str
    path: Path
    format: Format
    precision: Precision
    parent: str | None = None
