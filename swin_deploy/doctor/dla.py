"""What of a Swin a Jetson's DLA would take: next to nothing, said with numbers.

Source: NVIDIA TensorRT documentation, "DLA Supported Layers and Restrictions"
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/dla-layer-restrictions.html): convolutions,
pooling, ReLU, Sigmoid, TanH, Clip and the like on [N, C, H, W], of fixed sizes; "Working with DLA" says where it is.
"""

from __future__ import annotations

from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.doctor.line import Line, Verdict
from swin_deploy.model.layout import token_layout

__all__ = ["dla_line"]


def dla_line(spec: SwinSpec) -> Line:
    """Say plainly what would fall back."""
    blocks = spec.depth
    moves = token_layout(spec).permutations
    return Line(
        "checkpoint",
        "DLA",
        Verdict.OK,
        f"leave it out, a Swin belongs on the GPU: on DLA {2 * blocks} or more LayerNormalization, {blocks} Softmax, "
        f"{blocks} GELU (Erf), {2 * blocks} MatMul of two activations and {moves} Gather would fall back to the GPU, "
        "and a dynamic batch is not taken at all; every change of device is a copy. Thor has no DLA",
    )
