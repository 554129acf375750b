"""Rewrite a typed graph so that FP32 arithmetic rounds where the graph's types say so, and overflows where they do.

ONNX Runtime's CPU provider computes FP16 graphs in FP32 and has no BF16 kernels, so neither rounding nor overflow of
half precision shows there. Here each operator computes in FP32 from values that half precision holds, and a pair of
casts behind it rounds the result: a sum of products is accumulated in FP32 and rounded once. That is what a tensor core
with an FP32 accumulator does for one operator. An engine that fuses several rounds less often, one that accumulates in
FP16 more often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.data_movement import DATA_MOVEMENT
from swin_deploy.onnx_graph.rebuild import replace_nodes
from swin_deploy.onnx_graph.widen import widened

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["rounded"]


def rounded(model: ModelProto) -> ModelProto:
    """A graph of FP32 operators that gives what `model` does in its own types, its sums accumulated in FP32.

    Run it with all optimisations off: a pair of casts to half precision and back is no identity, but looks like one.

    Raises:
        BadInput: the type of a value is not known.
    """
    from onnx import TensorProto, helper, shape_inference

    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    known = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output, *graph.value_info)}
    wide = widened(model)
    nodes: list[NodeProto] = []
    for node in wide.graph.node:
        outputs = [name for name in node.output if name]
        lost = [name for name in outputs if name not in known]
        if lost:
            raise BadInput(
                f"the type of {lost[0]} is not known after shape inference", needed="operators of the standard domain"
            )
        halves = [name for name in outputs if known[name] in (TensorProto.FLOAT16, TensorProto.BFLOAT16)]
        nodes.append(node)
        if node.op_type in DATA_MOVEMENT:
            continue  # rounded before
        for name in halves:
            exact, half = f"{name}.exact", f"{name}.half"
            node.output[list(node.output).index(name)] = exact
            nodes += [
                helper.make_node("Cast", [exact], [half], f"{half}/Cast", to=known[name]),
                helper.make_node("Cast", [half], [name], f"{name}/Cast", to=TensorProto.FLOAT),
            ]
    replace_nodes(wide, nodes)
    return wide
