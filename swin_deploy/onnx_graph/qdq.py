"""Write explicit Q/DQ around linears: activations per tensor, weights per output channel, biases left in float.

TensorRT fuses DequantizeLinear -> MatMul <- DequantizeLinear into one INT8 GEMM. It refuses a DequantizeLinear on an
INT32 bias, so biases stay what they are. Source: TensorRT developer guide, "Working with Quantized Types".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from calib.int8 import quantize, scale_from_amax, weight_scales
from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.linears import Linear
from swin_deploy.onnx_graph.rebuild import replace_nodes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["insert_qdq"]

# The smallest normal FP16: a scale below it loses digits, and codes made with it would saturate.
_SMALLEST = float(np.finfo(np.float16).smallest_normal)


def insert_qdq(model: ModelProto, chosen: Iterable[Linear], amax: Mapping[str, float]) -> ModelProto:
    """A copy of `model` in which the chosen linears multiply INT8.

    Scales are rounded to FP16 before anything is quantized with them, so that the typed graph (whose scales are FP16)
    and the FP32 one stand for the same integers.

    Args:
        model: FP32 graph.
        chosen: The linears to quantize.
        amax: Largest magnitude of each activation tensor, by name.

    Raises:
        BadInput: an activation has no range, or one whose scale FP16 cannot hold.
    """
    from onnx import ModelProto, helper, numpy_helper

    quantized = ModelProto()
    quantized.CopyFrom(model)
    graph = quantized.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    before: dict[int, list[NodeProto]] = {}
    activations: dict[str, str] = {}

    def constant(name: str, values: np.ndarray) -> str:
        graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    # In graph order, so that a shared activation is quantized before its first use.
    for linear in sorted(chosen, key=lambda linear: linear.node):
        nodes = before.setdefault(linear.node, [])
        if linear.activation not in activations:
            if linear.activation not in amax:
                raise BadInput(f"no range was calibrated for {linear.activation}, the input of {linear.module}")
            stem = activations[linear.activation] = f"{linear.module}.input"
            scale = constant(f"{stem}.scale", _fp16(np.float32(scale_from_amax(amax[linear.activation]))))
            zero = constant(f"{stem}.zero_point", np.array(0, dtype=np.int8))
            nodes += [
                helper.make_node(
                    "QuantizeLinear", [linear.activation, scale, zero], [f"{stem}.int8"], f"{stem}/QuantizeLinear"
                ),
                helper.make_node(
                    "DequantizeLinear", [f"{stem}.int8", scale, zero], [f"{stem}.dq"], f"{stem}/DequantizeLinear"
                ),
            ]
        values = numpy_helper.to_array(weights[linear.weight])  # [inputs, outputs]
        scales = _fp16(weight_scales(values, axis=1, smallest=_SMALLEST))
        stem = f"{linear.module}.weight"
        stored = constant(f"{stem}.int8", quantize(values, scales, axis=1))
        zero = constant(f"{stem}.zero_point", np.zeros(scales.shape, dtype=np.int8))
        nodes.append(
            helper.make_node(
                "DequantizeLinear",
                [stored, constant(f"{stem}.scale", scales), zero],
                [f"{stem}.dq"],
                f"{stem}/DequantizeLinear",
                axis=1,
            )
        )
        node = graph.node[linear.node]
        node.input[0], node.input[1] = f"{activations[linear.activation]}.dq", f"{stem}.dq"
    ordered = [piece for index, node in enumerate(graph.node) for piece in (*before.get(index, ()), node)]
    replace_nodes(quantized, ordered)
    return quantized


def _fp16(scales: np.ndarray | np.float32) -> np.ndarray:
    """Scales as FP32 numbers that FP16 holds exactly and at full precision."""
    if float(np.max(scales)) > float(np.finfo(np.float16).max):
        raise BadInput(
            f"an INT8 scale of {float(np.max(scales)):.4g}",
            needed="scales that FP16 holds, up to 65504",
            do="Look for an activation or a weight that explodes",
        )
    rounded = np.asarray(scales, dtype=np.float16)
    return np.maximum(rounded, np.float16(_SMALLEST)).astype(np.float32)
