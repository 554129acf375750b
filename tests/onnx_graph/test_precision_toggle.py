"""Raised blocks are the float graph's own, the others are what they were, and nothing is left over at the borders."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper, shape_inference

from swin_deploy.backends.onnxruntime import literal_session
from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.attention_qdq import insert_attention_qdq, tensors_to_range
from swin_deploy.onnx_graph.names import set_metadata
from swin_deploy.onnx_graph.precision_toggle import HalfToggle, QuantizedToggle
from swin_deploy.onnx_graph.quantization_audit import audit_quantization, require_as_written
from swin_deploy.onnx_graph.rounded import rounded
from swin_deploy.onnx_graph.typing_pass import WeightBeyondType
from tests.chain import Chain, decibels, random_images
from tests.quantized_graph import quantized_anyhow

BLOCKS = {"patch_embed", "blocks.0", "blocks.1", "blocks.2", "blocks.2.merge", "blocks.3", "norm", "head"}
QUANTIZED = ("blocks.0", "blocks.1", "blocks.2", "blocks.3")


def logits(model: ModelProto) -> np.ndarray:
    return np.asarray(literal_session(rounded(model)).infer(random_images(4))["logits"])


def types_by_node(model: ModelProto) -> dict[str, int]:
    """The type that each operator computes in."""
    graph = shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    values = {
        value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output, *graph.value_info)
    }
    return {node.name: values[node.output[0]] for node in graph.node if node.op_type not in ("Cast", "Shape")}


def nodes(model: ModelProto, *operators: str) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type in operators]


@pytest.mark.parametrize("half", ["fp16", "bf16"])
def test_with_no_block_raised_it_is_the_runs_own_graph_and_with_all_the_fp32_one(chain: Chain, half: str) -> None:
    toggle = HalfToggle(chain.model("simplified"), half)
    assert set(toggle.blocks) == BLOCKS
    np.testing.assert_array_equal(logits(toggle.raised(())), logits(chain.model(half)))
    whole = toggle.raised(toggle.blocks)
    assert not nodes(whole, "Cast")
    np.testing.assert_array_equal(logits(whole), logits(chain.model("simplified")))


@pytest.mark.parametrize("half", ["fp16", "bf16"])
@pytest.mark.parametrize("block", sorted(BLOCKS))
def test_a_raised_block_computes_in_fp32_and_no_other_does(chain: Chain, half: str, block: str) -> None:
    toggle = HalfToggle(chain.model("simplified"), half)
    model = toggle.raised((block,))
    checker.check_model(model, full_check=True)
    low, mixed = types_by_node(toggle.raised(())), types_by_node(model)
    changed = {name for name in low if low[name] != mixed[name]}
    floats = {name for name in low if low[name] in (TensorProto.FLOAT16, TensorProto.BFLOAT16)}
    arithmetic = {"MatMul", "Add", "LayerNormalization", "Softmax", "Gelu", "Conv", "Gemm", "ReduceMean"}
    inside = {
        node.name
        for node in toggle.model.graph.node
        if node.op_type in arithmetic
        and (node.name.startswith((f"{block}.", f"{block}/")) or (block == "norm" and node.name == "ReduceMean"))
        and not (block == "blocks.2" and node.name.startswith("blocks.2.merge"))
    }
    assert inside and inside & floats <= changed
    outside = {name for name in changed if name not in inside and not name.startswith(block)}
    assert {name.split("/")[-1].split("_")[0] for name in outside} <= {"Gather", "Reshape", "Transpose", "Slice"}


def test_a_border_has_one_cast_each_way(v1: Chain) -> None:
    toggle = HalfToggle(v1.model("simplified"), "fp16")
    none, one, two = (len(nodes(toggle.raised(high), "Cast")) for high in ((), ("blocks.1",), ("blocks.0", "blocks.1")))
    assert (one - none, two - none) == (2, 2)


def test_weights_of_raised_blocks_are_not_rounded(v1: Chain) -> None:
    model = HalfToggle(v1.model("simplified"), "fp16").raised(("blocks.1",))
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for block, kind in (("blocks.0", TensorProto.FLOAT16), ("blocks.1", TensorProto.FLOAT)):
        products = [node for node in nodes(model, "MatMul") if node.name.startswith(block)]
        assert {kinds[name] for node in products for name in node.input[1:] if name in kinds} == {kind}


def test_a_weight_beyond_fp16_is_told_until_its_block_is_raised(v1: Chain) -> None:
    model = v1.model("simplified")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "blocks.3.mlp.0.weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1e6), weight.name))
    toggle = HalfToggle(model, "fp16")
    with pytest.raises(WeightBeyondType, match=r"blocks\.3\.mlp\.0\.weight"):
        toggle.raised(("blocks.2",))
    checker.check_model(toggle.raised(("blocks.3",)), full_check=True)


@pytest.mark.parametrize("half", ["", "fp16"])
@pytest.mark.parametrize("grid", ["qdq", "qdq.fp8"])
def test_with_no_block_raised_the_codes_are_the_runs_and_with_all_there_are_none(
    chain: Chain, half: str, grid: str
) -> None:
    toggle = QuantizedToggle(chain.model("simplified"), chain.model(grid), half)
    assert toggle.blocks == QUANTIZED
    typed = {"qdq": "int8", "qdq.fp8": "fp8"}[grid] if half else grid
    np.testing.assert_array_equal(logits(toggle.raised(())), logits(chain.model(typed)))
    whole = toggle.raised(QUANTIZED)
    assert not nodes(whole, "QuantizeLinear", "DequantizeLinear")
    np.testing.assert_array_equal(logits(whole), logits(chain.model(half or "simplified")))


@pytest.mark.parametrize("half", ["", "fp16"])
@pytest.mark.parametrize("block", QUANTIZED)
def test_the_codes_of_one_block_go_with_its_moves_and_the_others_stay(chain: Chain, half: str, block: str) -> None:
    floats = chain.model("simplified")
    toggle = QuantizedToggle(floats, chain.model("qdq"), half)
    model = toggle.raised((block,))
    checker.check_model(model, full_check=True)
    require_as_written(model)  # the metadata says what is left
    assert not any(node.name.startswith(f"{block}.") for node in nodes(model, "QuantizeLinear", "DequantizeLinear"))
    assert {node.name.split(".attn")[0].split(".mlp")[0] for node in nodes(model, "QuantizeLinear")} == {
        other for other in QUANTIZED if other != block
    }
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    theirs = {tensor.name: numpy_helper.to_array(tensor) for tensor in floats.graph.initializer}
    for node in floats.graph.node:
        if node.name.startswith(f"{block}.") and node.op_type in ("MatMul", "LayerNormalization"):
            twin = next(other for other in model.graph.node if other.name == node.name)
            for ours, original in zip(twin.input, node.input, strict=True):
                if original in theirs:
                    kind = np.float16 if half else np.float32
                    np.testing.assert_array_equal(constants[ours], theirs[original].astype(kind))


def test_one_block_of_codes_alone_makes_hardly_more_noise_than_all_four(v1: Chain) -> None:
    # Hardly, since errors cancel. A norm that was moved for codes before weights that were not would make far more.
    toggle = QuantizedToggle(v1.model("simplified"), v1.model("qdq"))
    wanted = logits(v1.model("simplified"))
    alone = [decibels(logits(toggle.raised(set(QUANTIZED) - {block})), wanted) for block in QUANTIZED]
    together = decibels(logits(toggle.raised(())), wanted)
    assert min(alone) > together - 3.0 and max(alone) > together + 20.0


def test_of_attentions_in_codes_the_raised_block_is_in_float_whole(v1: Chain) -> None:
    floats = v1.model("simplified")
    linears = quantized_anyhow(floats)
    model = insert_attention_qdq(linears, dict.fromkeys(tensors_to_range(floats), 4.0))
    chosen = [node.name.rsplit("/", 1)[0] for node in nodes(floats, "MatMul") if "blocks" in node.name]
    chosen = [name for name in chosen if name.endswith(("qkv", "proj", "mlp.0", "mlp.2"))]
    written = {"grid": "int8", "linears": chosen, "attention": True}
    set_metadata(model, quantization=json.dumps(written))
    require_as_written(model)
    toggle = QuantizedToggle(floats, model)
    mixed = toggle.raised(("blocks.1",))
    require_as_written(mixed)
    assert not any("blocks.1." in node.name for node in nodes(mixed, "QuantizeLinear", "DequantizeLinear"))
    stated = json.loads(next(e.value for e in mixed.metadata_props if e.key == "swin_deploy.quantization"))
    assert stated["attention"] == ["blocks.0.attn", "blocks.2.attn", "blocks.3.attn"]
    # The control: the audit tells that metadata which claims all of them is wrong.
    assert audit_quantization(mixed, stated["linears"], attention=True).findings


def norm_outside() -> ModelProto:
    """`outer` normalizes what the product of `inner` reads."""
    generator = np.random.default_rng(0)
    held = {
        "gain": np.ones(8),
        "shift": np.zeros(8),
        "weight": generator.standard_normal((8, 8)),
        "bias": np.zeros(8),
    }
    made = [
        helper.make_node("LayerNormalization", ["x", "gain", "shift"], ["n"], "outer/LayerNormalization"),
        helper.make_node("MatMul", ["n", "weight"], ["p"], "inner/MatMul"),
        helper.make_node("Add", ["p", "bias"], ["y"], "inner/Add"),
        helper.make_node("Neg", ["y"], ["z"], "last/Neg"),
    ]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, 8])
    out = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 4, 8])
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in held.items()]
    return helper.make_model(
        helper.make_graph(made, "g", [value], [out], tensors),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


@pytest.mark.parametrize(("moved", "wanted"), [(True, ("outer+inner",)), (False, ("inner",))])
def test_a_norm_in_another_block_is_raised_with_the_product_that_it_was_moved_for(
    moved: bool, wanted: tuple[str, ...]
) -> None:
    from swin_deploy.onnx_graph.linears import linears

    floats = norm_outside()
    set_metadata(floats, spec="")
    quantized = quantized_anyhow(floats, list(linears(floats)))
    if moved:
        gain = numpy_helper.from_array(np.full(8, 0.5, np.float32), "inner.input.norm.weight")
        quantized.graph.initializer.append(gain)
        quantized.graph.node[0].input[1] = gain.name
    toggle = QuantizedToggle(floats, quantized)
    assert toggle.blocks == wanted
    raised = toggle.raised(wanted)
    assert raised.graph.node == floats.graph.node


@pytest.mark.parametrize("raw", [True, False], ids=["bytes", "numbers"])
def test_a_constant_of_the_same_name_with_other_values_is_kept_apart(v1: Chain, raw: bool) -> None:
    floats, quantized = v1.model("simplified"), v1.model("qdq")
    for model, more in ((floats, 0), (quantized, 1)):
        shared = next(tensor for tensor in model.graph.initializer if tensor.name == "blocks.1.attn.constant")
        values = numpy_helper.to_array(shared) + np.float32(more)
        content = values.tobytes() if raw else values.ravel()
        shared.CopyFrom(helper.make_tensor(shared.name, shared.data_type, values.shape, content, raw=raw))
    toggle = QuantizedToggle(floats, quantized)
    whole = toggle.raised(QUANTIZED)
    np.testing.assert_array_equal(logits(whole), logits(floats))


def test_graphs_that_do_not_belong_together_are_refused(v1: Chain, v2: Chain) -> None:
    with pytest.raises(BadInput, match=r"lacks \d+ nodes of the float graph"):
        QuantizedToggle(v2.model("simplified"), v1.model("qdq"))


def test_the_two_graphs_are_left_as_they_are(v1: Chain) -> None:
    toggle = QuantizedToggle(v1.model("simplified"), v1.model("qdq"), "fp16")
    before = toggle.model.SerializeToString(), toggle.quantized.SerializeToString()
    toggle.raised(("blocks.1",))
    assert (toggle.model.SerializeToString(), toggle.quantized.SerializeToString()) == before
