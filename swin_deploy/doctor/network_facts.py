"""What a checkpoint is, and how large its additive constants are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swin_deploy.doctor.line import Line, Verdict
from swin_deploy.model.constants import LARGEST_MIB, constants_mib, joins

if TYPE_CHECKING:
    from swin_deploy.checkpoint.load import Checkpoint

__all__ = ["network_lines", "parameters_of"]


def parameters_of(checkpoint: Checkpoint) -> int:
    """How many numbers its weights are."""
    return sum(tensor.numel() for tensor in checkpoint.reading.tensors.values())


def network_lines(checkpoint: Checkpoint) -> Iterator[Line]:
    """Architecture, preprocessing and constants."""
    spec = checkpoint.reading.spec
    yield Line(
        "checkpoint",
        "architecture",
        Verdict.OK,
        f"{checkpoint.dialect}: {spec.describe()}, {parameters_of(checkpoint):,} parameters",
    )
    if checkpoint.sidecar.preprocess is None and spec.merging:
        yield Line(
            "checkpoint",
            "preprocessing",
            Verdict.WARN,
            "nothing says how images were prepared",
            f"Put {checkpoint.path.stem}.json beside it, as in examples/cifar10, or give --resize, --mean and so on",
        )
    mib = constants_mib(spec)
    if joins(spec):
        yield Line(
            "checkpoint", "constants", Verdict.OK, f"{mib:.1f} MiB in FP32 of position bias and shift mask, joined"
        )
    else:
        yield Line(
            "checkpoint",
            "constants",
            Verdict.WARN,
            f"{mib:.1f} MiB in FP32, position bias and shift mask apart, since joined they exceed {LARGEST_MIB:.0f}",
            "Nothing; a smaller --image-size or --window makes them smaller, and attention one addition shorter",
        )
