"""Rewrite a typed graph so that a runtime without half-precision kernels computes it in FP32.

ONNX Runtime's CPU provider has no BF16 matrix kernels (and computes FP16 in FP32 itself). What remains of the typing
is the rounding of the weights: such a run proves the graph, not the numerics of its arithmetic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["holds_bf16", "widened"]


def holds_bf16(model: ModelProto) -> bool:
    """Whether any weight or Cast of the graph is BF16."""
    from onnx import TensorProto

    casts = (a.i for node in model.graph.node if node.op_type == "Cast" for a in node.attribute if a.name == "to")
    return TensorProto.BFLOAT16 in {*casts, *(tensor.data_type for tensor in model.graph.initializer)}


def widened(model: ModelProto) -> ModelProto:
    """A copy with every FP16 and BF16 weight and Cast made FP32; weights keep their rounded values."""
    from onnx import ModelProto, TensorProto, numpy_helper

    half = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
    wide = ModelProto()
    wide.CopyFrom(model)
    for tensor in wide.graph.initializer:
        if tensor.data_type in half:
            values = numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in wide.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in half:
                attribute.i = TensorProto.FLOAT
    del wide.graph.value_info[:]
    return wide
