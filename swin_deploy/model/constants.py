"""How large the additive constants of a model are, and whether position bias and shift mask are joined in one."""

from __future__ import annotations

from swin_deploy.checkpoint.spec import SwinSpec

__all__ = ["LARGEST_MIB", "constants_mib", "joins"]

# Beyond this the joined constants cost more memory (and ONNX file, and engine) than the one addition they save.
LARGEST_MIB = 256.0
# Other attentions have constants of their own making, or none.
_WITH_CONSTANTS = ("window", "channel-gate")


def constants_mib(spec: SwinSpec, *, joined: bool | None = None) -> float:
    """MiB of position bias and shift mask of the whole model in FP32.

    Args:
        spec: The architecture.
        joined: As one constant a block, [nW or 1, h, N, N], or apart, bias [h, N, N] a block and one mask
            [nW, N, N] a geometry; `None` for what `joins` says. Zero for an attention that has none of the two.
    """
    if spec.attention not in _WITH_CONSTANTS:
        return 0.0
    joined = joins(spec) if joined is None else joined
    elements = 0
    masks = set()
    for stage, block in spec.blocks():
        geometry = spec.geometry(stage, block)
        bias = spec.stages[stage].heads * geometry.tokens**2
        if joined:
            elements += bias * (geometry.windows if geometry.shifted else 1)
            continue
        elements += bias
        if geometry.shifted and geometry not in masks:
            masks.add(geometry)
            elements += geometry.windows * geometry.tokens**2
    return elements * 4 / 2**20


def joins(spec: SwinSpec) -> bool:
    """Whether the model's constants are joined: up to `LARGEST_MIB`, and always within another attention."""
    return spec.attention != "window" or constants_mib(spec, joined=True) <= LARGEST_MIB
