"""The export profiles, and a graph of the `strong` one written in another.

One deployment form has one canonical graph, `strong`. What an older importer wants is made of it here, so that every
profile computes the same function. Query, key and value stay one product in all of them: see docs/profiles.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swin_deploy.errors import BadInput, UsageFault

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["CPU", "LOWERED", "PROFILES", "WRITTEN", "in_profile"]

LOWERED = ("trt86", "trt85")
"""TensorRT 8.6, and 8.5: FP32 graphs, with Q/DQ for INT8; builder flags ask for FP16."""

CPU = "cpu"
"""ONNX Runtime's CPU provider: FP32 graphs, with its own operators for INT8."""

WRITTEN = (*LOWERED, CPU)
"""What a `strong` graph is written in besides."""

PROFILES = ("strong", *WRITTEN)
"""`strong` is for TensorRT 10, 11 and for RTX: the graph's own types are what is computed in."""


def in_profile(model: ModelProto, profile: str) -> ModelProto:
    """A copy of `model` in another profile.

    Args:
        model: A graph of the `strong` profile: FP32, with or without Q/DQ; typed ones only for `strong` itself.
        profile: One of `PROFILES`.

    Raises:
        UsageFault: there is no such profile.
        BadInput: `model` is not of the `strong` profile; or it holds what the other has no form for, such as a typed
            tensor, or attention that TensorRT 8.6 is known to compute wrongly.
    """
    from onnx import ModelProto

    from swin_deploy.onnx_graph.cpu_graph import cpu_graph
    from swin_deploy.onnx_graph.lowering import lowered
    from swin_deploy.onnx_graph.merged_windows import merged_windows
    from swin_deploy.onnx_graph.names import set_metadata
    from swin_deploy.onnx_graph.quantization_audit import require_as_written
    from swin_deploy.onnx_graph.tensorrt8_operators import IMPORTERS

    if profile not in PROFILES:
        raise UsageFault(f"the export profile {profile!r}", needed="one of " + ", ".join(PROFILES))
    is_of = next((entry.value for entry in model.metadata_props if entry.key == "swin_deploy.profile"), "strong")
    if is_of != "strong":
        raise BadInput(f"a graph of the profile {is_of} to be written as {profile}", needed="one of the profile strong")
    if profile == CPU:
        require_as_written(model)  # before, since no pairs are left behind
        made = cpu_graph(model)
        set_metadata(made, profile=profile)
        return made
    if profile == "strong":
        made = ModelProto()
        made.CopyFrom(model)
    else:
        merged = merged_windows(model)
        if merged:
            raise BadInput(
                merged[0] + (f" (and {len(merged) - 1} more)" if len(merged) > 1 else ""),
                needed="windows in an axis of their own or in the batch axis: TensorRT 8.6 computes the other form "
                "wrongly in FP16 at batch 32",
                do="Reshape the scores to [B, nW, heads, N, N] before the bias is added",
            )
        made = lowered(model, IMPORTERS[profile])
    set_metadata(made, profile=profile)
    require_as_written(made)
    return made
