"""Read from a Q/DQ graph what stands in it: which linears multiply INT8 or FP8, with which steps and which weights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from calib.grid import E4M3, INT8, Grid

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["QuantizedLinear", "block_of", "block_outputs", "quantized_linears"]

Array = npt.NDArray[np.float32]
_BLOCK = re.compile(r"^((?:.*\.)?blocks\.\d+)(?=[./])")


@dataclass(frozen=True, eq=False)
class QuantizedLinear:
    """One matrix multiplication whose both operands are quantized, the right one a constant.

    Attributes:
        module: Path of the module, e.g. `blocks.3.mlp.2`.
        node: Name of the MatMul, which the float graph has too.
        tensor: Name of the float tensor that becomes the left operand.
        step: Its quantization step.
        codes: The weights as numbers of the grid, float32 [inputs, outputs].
        weight_steps: One an output channel, [outputs].
        grid: What both are rounded to.
    """

    module: str
    node: str
    tensor: str
    step: float
    codes: Array
    weight_steps: Array
    grid: Grid

    @property
    def weight(self) -> Array:
        """The weights that the codes stand for, [inputs, outputs]."""
        return self.codes * self.weight_steps


def block_of(name: str) -> str:
    """The block that a module or a node `<module>/<operator>` lies in, e.g. `blocks.3`; empty where there is none."""
    found = _BLOCK.match(name)
    return found.group(1) if found else ""


def block_outputs(model: ModelProto) -> dict[str, str]:
    """Each block's output, the sum of its last residual branch: block to tensor, in the graph's order."""
    found: dict[str, str] = {}
    for node in model.graph.node:
        block = block_of(node.name)
        if block and node.op_type == "Add" and node.name.startswith(f"{block}/"):
            found[block] = node.output[0]
    return found


def quantized_linears(model: ModelProto) -> Iterator[QuantizedLinear]:
    """The quantized linears in the order they are computed; products of two activations are none."""
    from onnx import numpy_helper

    made = {name: node for node in model.graph.node for name in node.output}
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "MatMul":
            continue
        left, right = (_source(made.get(name), "DequantizeLinear") for name in node.input)
        quantize = _source(made.get(left.input[0]), "QuantizeLinear") if left else None
        if quantize is None or right is None or not {quantize.input[1], *right.input[:2]} <= held.keys():
            continue
        stored = held[right.input[0]]
        yield QuantizedLinear(
            module=right.input[0].rpartition(".weight.")[0] or node.name.rpartition("/")[0],
            node=node.name,
            tensor=quantize.input[0],
            step=float(numpy_helper.to_array(held[quantize.input[1]]).reshape(())),
            codes=numpy_helper.to_array(stored).astype(np.float32),
            weight_steps=numpy_helper.to_array(held[right.input[1]]).astype(np.float32).reshape(-1),
            grid=_grid(stored),
        )


def _source(node: NodeProto | None, kind: str) -> NodeProto | None:
    return node if node is not None and node.op_type == kind else None


def _grid(stored: TensorProto) -> Grid:
    from onnx import TensorProto

    return E4M3 if stored.data_type == TensorProto.FLOAT8E4M3FN else INT8
