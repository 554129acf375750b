"""Write a `strong` graph as the kernels of ONNX Runtime's CPU provider like it best.

1. The detour that saves TensorRT for RTX a copy, the projection with a window's tokens outermost, is taken out.
2. Query, key and value become one Split instead of three Slices and Squeezes.
3. A product between Q/DQ pairs becomes MatMulIntegerToFloat, an operator of ONNX Runtime's own, which adds the bias
   too. That is what its optimiser makes of the pairs, but for the bias. Codes of activations become unsigned, by a zero
   point of 128: the instructions of x86 (VNNI) multiply unsigned by signed.

1 and 2 move numbers only; 3 rounds where Q/DQ rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from swin_deploy.onnx_graph.rebuild import replace_nodes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["cpu_graph"]

_CONTRIB = "com.microsoft"
# What may stand between the two transpositions of the detour: operators that work on each token alone, if their
# constants do.
_PER_TOKEN = frozenset({"QuantizeLinear", "DequantizeLinear", "MatMul", "Add", "Mul"})


def cpu_graph(model: ModelProto) -> ModelProto:
    """A copy of an FP32 graph, with or without INT8 Q/DQ, for ONNX Runtime on a CPU; what is not known stays."""
    from onnx import ModelProto

    made = ModelProto()
    made.CopyFrom(model)
    graph = _Graph(made)
    graph.straighten()
    graph.split_heads()
    if graph.multiply_integers():
        made.opset_import.add(domain=_CONTRIB, version=1)
    replace_nodes(made, graph.nodes)
    return made


class _Graph:
    """A graph that is being rewritten.

    Attributes:
        nodes: What it consists of so far, in order.
    """

    def __init__(self, model: ModelProto) -> None:
        from onnx import numpy_helper, shape_inference

        self._model = model
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        inferred = shape_inference.infer_shapes(model, data_prop=True).graph
        self._shapes = {
            value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]  # 0 where it is free
            for value in inferred.value_info
        }
        self._outputs = {value.name for value in model.graph.output}
        self.nodes = list(model.graph.node)
        self._index()

    def _index(self) -> None:
        self._makers = {name: node for node in self.nodes for name in node.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def straighten(self) -> None:
        """Take the detours around projections out."""
        for turn in [node for node in self.nodes if _permutation(node) == [1, 0, 2]]:
            heads, rows = self._makers.get(turn.input[0]), self._reader(turn)
            if heads is None or heads.op_type != "Reshape" or rows is None or rows.op_type != "Reshape":
                continue
            shape = self._shapes.get(heads.input[0], [])  # [B, nW, h, N, d]
            last = rows
            while (back := self._reader(last)) is not None and self._per_token(back):
                last = back
            if back is None or _permutation(back) != [1, 0, 2] or len(shape) != 5 or 0 in shape[1:]:
                continue
            windows, count, tokens, dim = shape[1:]
            flat = [-1, windows * tokens, count * dim]
            target = self._constant(f"heads.{windows * tokens}.{count * dim}", flat)
            straight = [
                _node("Transpose", [heads.input[0]], turn.output[0], turn, perm=[0, 1, 3, 2, 4]),
                _node("Reshape", [turn.output[0], target], rows.output[0], rows),
            ]
            # Of several windows a Reshape behind the way back joins the tokens. They are joined now, so it goes, unless
            # it joins the images too; nobody else may read what it reads, whose axes change.
            readers = self._readers.get(back.output[0], [])
            joined = readers[0] if windows > 1 and len(readers) == 1 else back
            if (windows > 1 and joined.op_type != "Reshape") or back.output[0] in self._outputs:
                continue
            goes = joined if self._shape_of(joined)[:2] == flat[:2] and joined.output[0] not in self._outputs else back
            self._replace([heads, turn, rows], straight)
            for reader in self._readers[goes.output[0]]:
                _rename(reader, goes.output[0], last.output[0])
            self._replace([back] if goes is back else [back, goes], [])

    def _per_token(self, node: NodeProto) -> bool:
        """Whether a node of one activation, its first input, works on each token alone."""
        if node.op_type not in _PER_TOKEN or any(
            name in self._makers for name in node.input[1:] if not self._weight(name)
        ):
            return False
        return node.op_type == "MatMul" or all(np.ndim(self._constants.get(name, 0.0)) <= 1 for name in node.input[1:])

    def _weight(self, name: str) -> bool:
        """Whether a tensor is a constant, as it is or behind a DequantizeLinear."""
        maker = self._makers.get(name)
        return name in self._constants or (
            maker is not None and maker.op_type == "DequantizeLinear" and maker.input[0] in self._constants
        )

    def split_heads(self) -> None:
        """[B, nW, N, 3, h, d], transposed whole and cut in three, becomes [B, nW, N, 3*h, d] with one Split."""
        for turn in [node for node in self.nodes if _permutation(node) == [3, 0, 1, 4, 2, 5]]:
            reshape = self._makers.get(turn.input[0])
            shape = self._shape_of(reshape)
            cuts = self._readers[turn.output[0]]
            thirds = {self._position(cut): self._reader(cut) for cut in cuts}
            squeezes = [thirds.get(position) for position in range(3)]
            known = len(cuts) == len(thirds) == 3 and all(node and node.op_type == "Squeeze" for node in squeezes)
            if (
                reshape is None
                or len(shape) != 6
                or shape[3] != 3
                or len(self._readers[turn.input[0]]) > 1
                or not known
            ):
                continue
            windows, tokens, _, heads, dim = shape[1:]
            apart = self._constant(f"apart.{windows}.{tokens}.{heads}.{dim}", [-1, windows, tokens, 3 * heads, dim])
            split = _node("Split", [turn.output[0]], "", cuts[0], axis=2, num_outputs=3)
            del split.output[:]
            split.output.extend(node.output[0] for node in squeezes if node is not None)
            new = [
                _node("Reshape", [reshape.input[0], apart], reshape.output[0], reshape),
                _node("Transpose", [reshape.output[0]], turn.output[0], turn, perm=[0, 1, 3, 2, 4]),
                split,
            ]
            self._replace([reshape, turn, *cuts, *(node for node in squeezes if node is not None)], new, first=True)

    def multiply_integers(self) -> bool:
        """Products between INT8 pairs, weights per column, as operators; whether there are any."""
        changed = False
        for product in [node for node in self.nodes if node.op_type == "MatMul"]:
            left, right = (self._makers.get(name) for name in product.input)
            code = None if left is None else self._makers.get(left.input[0])
            if left is None or right is None or code is None or not self._int8(code, left, right):
                continue
            bias, add = self._bias(product)
            unsigned = f"{code.output[0]}.unsigned"
            middle = self._constant("unsigned.zero_point", np.array(128, np.uint8))
            inputs = [unsigned, right.input[0], code.input[1], right.input[1], middle, "", *bias]
            out = (product if add is None else add).output[0]
            new = [_node("MatMulIntegerToFloat", inputs, out, product, domain=_CONTRIB)]
            if unsigned not in self._makers:
                new.insert(0, _node("QuantizeLinear", [code.input[0], code.input[1], middle], unsigned, code))
            self._replace([product] if add is None else [product, add], new)
            changed = True
        self._drop_unread()
        return changed

    def _int8(self, code: NodeProto, left: NodeProto, right: NodeProto) -> bool:
        """Whether a product reads symmetric INT8 codes: one step on its left; on its right one a column, constants."""
        pairs = (code, left, right)
        operators = [node.op_type for node in pairs]
        if operators != ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear"] or code.input[1] != left.input[1]:
            return False
        read = [self._constants.get(name) for node in pairs for name in node.input[1:]]
        weights = self._constants.get(right.input[0])
        if weights is None or weights.ndim != 2 or len(read) != 6:
            return False
        known = [values for values in read if values is not None]
        steps, zeros = known[0::2], known[1::2]
        shapes = [step.shape for step in steps]
        symmetric = all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
        return len(known) == 6 and symmetric and shapes == [(), (), weights.shape[1:]]

    def _bias(self, product: NodeProto) -> tuple[list[str], NodeProto | None]:
        """The constant, one number a column, that the only reader of a product adds, and the reader."""
        add = self._reader(product)
        if add is None or add.op_type != "Add":
            return [], None
        other = add.input[1] if add.input[0] == product.output[0] else add.input[0]
        return ([other], add) if np.ndim(self._constants.get(other, 0.0)) == 1 else ([], None)

    def _drop_unread(self) -> None:
        while True:
            read = {name for node in self.nodes for name in node.input} | self._outputs
            kept = [node for node in self.nodes if any(name in read for name in node.output)]
            if len(kept) == len(self.nodes):
                return
            self.nodes = kept

    def _reader(self, node: NodeProto) -> NodeProto | None:
        """The only reader of a node's only output."""
        readers = self._readers.get(node.output[0], [])
        return readers[0] if len(readers) == 1 and node.output[0] not in self._outputs else None

    def _shape_of(self, reshape: NodeProto | None) -> list[int]:
        """The constant shape that a Reshape gives."""
        if reshape is None or reshape.op_type != "Reshape" or reshape.input[1] not in self._constants:
            return []
        return [int(axis) for axis in self._constants[reshape.input[1]]]

    def _position(self, cut: NodeProto) -> int:
        """Which third a Slice of the first axis cuts; -1 of another node."""
        if cut.op_type != "Slice" or len(cut.input) != 4:
            return -1
        start, end, axis = (self._constants.get(name, np.array([-1])).tolist() for name in cut.input[1:])
        return int(start[0]) if axis == [0] and end == [start[0] + 1] else -1

    def _constant(self, name: str, values: Any) -> str:
        """Add a constant, once."""
        from onnx import numpy_helper

        if name not in self._constants:
            array = np.asarray(values, None if isinstance(values, np.ndarray) else np.int64)
            self._constants[name] = array
            self._model.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def _replace(self, old: Sequence[NodeProto], new: Sequence[NodeProto], *, first: bool = False) -> None:
        """Put `new` where the first or the last of `old` stands."""
        gone = {id(node) for node in old}
        places = [index for index, node in enumerate(self.nodes) if id(node) in gone]
        place = places[0] if first else places[-1]
        before = [node for node in self.nodes[:place] if id(node) not in gone]
        behind = [node for node in self.nodes[place:] if id(node) not in gone]
        self.nodes = [*before, *new, *behind]
        self._index()


def _node(operator: str, inputs: Sequence[str], output: str, like: NodeProto, **attributes: Any) -> NodeProto:
    """A node that keeps the module of `like` in its name."""
    from onnx import helper

    module, _, _ = like.name.rpartition("/")
    return helper.make_node(operator, list(inputs), [output], f"{module}/{operator}:{output}", **attributes)


def _permutation(node: NodeProto) -> list[int]:
    if node.op_type != "Transpose":
        return []
    return next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), [])


def _rename(node: NodeProto, old: str, new: str) -> None:
    for position, name in enumerate(node.input):
        if name == old:
            node.input[position] = new
