"""Fold what depends on weights alone in a captured network: bias lookups, bias MLPs, masks become constants.

The folded graph computes the very numbers of the original, since each constant is computed by the operators that would
have computed it at run time, in their own type. Operators that write into their input are first replaced by those that
do not (torchvision's V2 zeroes the key's bias so), as every compiler behind this stage does too: a constant that was
written into at run time would be another at the next call.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from swin_deploy.model.capture import image_shape, program_module
from swin_deploy.torch_versions import export_program

__all__ = ["Folding", "fold_constants", "same_outputs"]

# A constant larger than that stays computed: an expanded view may be larger than what it is made from.
_LARGEST_BYTES = 256 * 2**20
# They act on something else than their result, or ask for a size, which costs nothing.
_KEPT = ("_assert", "sym_")
# Of their first input they take the type alone (torchvision makes its mask so); sizes that are numbers are stated.
_TYPED_LIKE = frozenset(
    {torch.ops.aten.new_zeros.default, torch.ops.aten.new_ones.default, torch.ops.aten.new_full.default}
)


@dataclass(frozen=True)
class Folding:
    """What was folded.

    Attributes:
        program: The program with constants in place of what computed them.
        operators: How many operators disappeared.
        constants: How many constants took their place.
        mib: Their size in MiB.
    """

    program: ExportedProgram
    operators: int
    constants: int
    mib: float


@torch.no_grad()
def fold_constants(program: ExportedProgram, largest_batch: int) -> Folding:
    """Evaluate every operator whose inputs are all weights, buffers or constants, and keep the results as buffers.

    Args:
        program: A captured network of one input, images [B, channels, H, W].
        largest_batch: Upper end of the batch axis.
    """
    before = _operators(program.graph)
    program = program.run_decompositions({})  # writes nothing in place any more, and decomposes nothing
    module: Any = program_module(program)
    written = set(program.graph_signature.buffers_to_mutate.values())
    values: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr" and str(node.target) not in written:
            values[node] = _attribute(module, str(node.target))
        elif node.op == "call_function" and _foldable(node, values):
            result = _evaluated(node, values)
            if not isinstance(result, Tensor) or result.numel() * result.element_size() <= _LARGEST_BYTES:
                values[node] = result
    size, count = 0, 0
    for node in list(module.graph.nodes):
        if node.op != "call_function" or not isinstance(values.get(node), Tensor):
            continue
        if all(user in values for user in node.users):
            continue  # only what the rest of the graph reads is kept
        constant = values[node].detach().clone()
        name = f"folded_constant_{count}"
        module.register_buffer(name, constant)
        with module.graph.inserting_before(node):
            replacement = module.graph.get_attr(name)
        replacement.meta.update(node.meta)
        node.replace_all_uses_with(replacement)
        size, count = size + constant.numel() * constant.element_size(), count + 1
    module.graph.eliminate_dead_code()
    module.recompile()
    module.delete_all_unused_submodules()
    _drop_unread(module)
    channels, height, width = image_shape(program)
    folded = export_program(module, (height, width), largest_batch, "cpu", channels)
    return Folding(folded, before - _operators(folded.graph), count, size / 2**20)


@torch.no_grad()
def same_outputs(program: ExportedProgram, folded: ExportedProgram, images: int = 2, seed: int = 0) -> bool:
    """Whether both give the same bits on random images."""
    batch = torch.randn(images, *image_shape(program), generator=torch.Generator().manual_seed(seed))
    results = [program_module(each)(batch) for each in (program, folded)]
    pairs = [result if isinstance(result, tuple) else (result,) for result in results]
    return all(torch.equal(one, other) for one, other in zip(*pairs, strict=True))


def _foldable(node: fx.Node, values: dict[fx.Node, Any]) -> bool:
    if node.target is not operator.getitem:
        if not isinstance(node.target, torch._ops.OpOverload) or any(word in str(node.target) for word in _KEPT):
            return False
        if node.target._schema.is_mutable or torch.Tag.nondeterministic_seeded in node.target.tags:
            return False
    # Without inputs it is a constant made from plain numbers, as arange and zeros make one.
    inputs = {argument for argument in node.all_input_nodes if argument not in values}
    return not inputs or (node.target in _TYPED_LIKE and inputs == {node.args[0]})


def _evaluated(node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    def value(argument: fx.Node) -> Any:
        return values[argument] if argument in values else torch.empty(0, dtype=argument.meta["val"].dtype)

    arguments: Any = fx.map_arg((node.args, node.kwargs), value)
    function: Any = node.target
    return function(*arguments[0], **arguments[1])


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module


def _drop_unread(module: Any) -> None:
    """Weights that only folded operators read are in no file any more."""
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for name, _ in [*module.named_parameters(), *module.named_buffers()]:
        if name not in read:
            owner, _, attribute = name.rpartition(".")
            delattr(_attribute(module, owner) if owner else module, attribute)


def _operators(graph: fx.Graph) -> int:
    return sum(node.op == "call_function" for node in graph.nodes)
