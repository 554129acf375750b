"""Name nodes after the modules they came from, and drop what an exporter left behind.

Layer names are what a profile, an engine's audit and a precision plan talk about: `blocks.3.attn.qkv/MatMul` says where
it belongs, `node_MatMul_217` does not.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["name_batch_axis", "name_by_module", "set_metadata"]

_SCOPES = "pkg.torch.onnx.name_scopes"


def name_by_module(model: ModelProto) -> None:
    """Rename nodes in place to `<module path>/<operator>`, and the weight of each linear to `<module path>.weight`.

    Where a module has several, as the attention of some code bases does, the second is `<module path>_2.weight`. Also
    drops the exporter's per-node metadata, which holds stack traces with paths of the machine.
    """
    seen: Counter[str] = Counter()
    renamed: dict[str, str] = {}
    initializers = {tensor.name for tensor in model.graph.initializer}
    taken = initializers | {name for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        module = _module(node)
        name = f"{module}/{node.op_type}" if module else node.op_type
        seen[name] += 1
        node.name = name if seen[name] == 1 else f"{name}_{seen[name]}"
        del node.metadata_props[:]
        if node.op_type == "MatMul" and module and node.input[1] in initializers and node.input[1] not in renamed:
            numbers = ("", *(f"_{number}" for number in range(2, len(initializers) + 2)))
            free = (f"{module}{number}.weight" for number in numbers)
            renamed[node.input[1]] = next(name for name in free if name not in taken)
            taken.add(renamed[node.input[1]])
    for value in model.graph.value_info:
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        for position, value_name in enumerate(node.input):
            node.input[position] = renamed.get(value_name, value_name)
    del model.metadata_props[:]
    del model.graph.metadata_props[:]


def name_batch_axis(model: ModelProto) -> None:
    """Call the free first axis of the input `batch` in every shape, where the exporter has a symbol of its own."""
    symbol = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    if not symbol:
        return
    whole = re.compile(rf"\b{re.escape(symbol)}\b")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = whole.sub("batch", axis.dim_param)


def set_metadata(model: ModelProto, **entries: str) -> None:
    """Set `swin_deploy.<key>` entries in the model's metadata, replacing earlier ones of the same key."""
    kept = {entry.key: entry.value for entry in model.metadata_props}
    kept.update({f"swin_deploy.{key}": value for key, value in entries.items()})
    del model.metadata_props[:]
    for key, value in kept.items():
        model.metadata_props.add(key=key, value=value)


def _module(node: NodeProto) -> str:
    """The innermost module's path; the last scope is the operator's own name."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes = ast.literal_eval(entry.value)
            return str(scopes[-2]) if len(scopes) > 1 else ""
    return ""
