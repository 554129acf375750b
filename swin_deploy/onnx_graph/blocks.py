"""Which block each node of a graph belongs to, by the module that it is named after (see onnx_graph/names.py).

A graph of ours falls into patch_embed, blocks.0, blocks.1, ..., the mergings (blocks.2.merge), norm and head;
restoration has its convolutions besides. A user's own network falls into the entries of its module lists, and into the
modules beside them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from swin_deploy.errors import BadInput

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["blocks_of"]

# An entry of a module list, maybe within one of another: `blocks.3`, `layers.0.blocks.1`, torchvision's `features.1.0`;
# and the merging in it, which is a fault's place of its own.
_LIST = r"(?:(?:blocks?|convs|embeds|exits|groups|layers?|stages)\.\d+|features(?:\.\d+)+)(?:\.|$)"
_ENTRY = re.compile(rf"(?:\w+\.)*?{_LIST}(?:(?:residual_group\.)?{_LIST})*(?:(?:merge|downsample)(?=\.|$))?")


def blocks_of(model: ModelProto) -> dict[str, str]:
    """Node to block, both in the graph's order.

    A node of no module, as the pooling before a head, belongs to the block before it.

    Raises:
        BadInput: nodes have no names, or share one.
    """
    names = [node.name for node in model.graph.node]
    if not names or len(set(names)) != len(names) or not all(names):
        raise BadInput(
            "the graph's nodes have no names of their own",
            needed="nodes named after their modules, as in the graphs that swin-deploy build writes",
        )
    modules = [tuple(name.rsplit("/", 1)[0].split(".")) if "/" in name else () for name in names]
    outer = _shared([module for module in modules if module])
    found: list[str] = []
    for module in modules:
        inner = ".".join(module[outer:])
        found.append(_block(inner) if inner else found[-1] if found else "")
    first = next((block for block in found if block), "network")
    return {name: block or first for name, block in zip(names, found, strict=True)}


def _shared(modules: Sequence[tuple[str, ...]]) -> int:
    """How many leading parts all paths have in common: the wrappers around a network, which may have nodes too."""
    count = 0
    while any(len(module) > count + 1 for module in modules):
        if len({module[count] for module in modules if len(module) > count}) > 1:
            break
        count += 1
    # `blocks` alone is no wrapper: the numbers behind it would be names without a meaning.
    return count - 1 if count and any(module[count].isdigit() for module in modules if len(module) > count) else count


def _block(module: str) -> str:
    entry = _ENTRY.match(module)
    return entry[0].rstrip(".") if entry else module.split(".", 1)[0]
