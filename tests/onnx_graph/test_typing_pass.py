"""Types: half precision inside, FP32 at the border and in V2's normalize, and weights rounded once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper, parser, shape_inference

from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.typing_pass import FP32_ISLAND, type_graph
from tests.chain import Chain

KINDS = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16, "int8": TensorProto.FLOAT16}


def value_types(model: ModelProto) -> dict[str, int]:
    graph = shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output, *graph.value_info)}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def inputs_of(model: ModelProto, *operators: str) -> set[int]:
    types = value_types(model)
    return {types[name] for node in model.graph.node if node.op_type in operators for name in node.input}


def scaled(weight: npt.NDArray[np.float32]) -> ModelProto:
    """y = x + weight."""
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[N, 1] x) => (float[N, M] y) { y = Add(x, weight) }'
    )
    model.graph.initializer.append(numpy_helper.from_array(weight, "weight"))
    return model


@pytest.mark.parametrize("name", ["fp16", "bf16", "int8"])
def test_matmul_layernorm_softmax_and_gelu_work_in_half_precision(chain: Chain, name: str) -> None:
    model = chain.model(name)
    for operator in ("MatMul", "LayerNormalization", "Softmax", "Gelu", "Conv", "Gemm"):
        assert inputs_of(model, operator) == {KINDS[name]}, operator


@pytest.mark.parametrize("name", ["fp16", "bf16", "int8"])
def test_inputs_and_outputs_stay_fp32(chain: Chain, name: str) -> None:
    graph = chain.model(name).graph
    assert [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)] == [TensorProto.FLOAT] * 2


@pytest.mark.parametrize("name", ["fp16", "bf16"])  # INT8 has Muls of its own, before its products
def test_the_cosine_attention_normalizes_in_fp32(v2: Chain, name: str) -> None:
    model = v2.model(name)
    assert inputs_of(model, "ReduceL2", "Clip", "Div", "Mul") == {TensorProto.FLOAT, TensorProto.INT64}
    counts = {operator: sum(node.op_type == operator for node in model.graph.node) for operator in FP32_ISLAND}
    assert counts == {"ReduceL2": 4, "Clip": 4, "Div": 4, "Mul": 4}  # q and k of four blocks together


@pytest.mark.parametrize("name", ["exported", "fp16", "bf16", "int8"])
def test_layernorm_keeps_its_statistics_in_fp32(chain: Chain, name: str) -> None:
    norms = [node for node in chain.model(name).graph.node if node.op_type == "LayerNormalization"]
    stash = [a.i for node in norms for a in node.attribute if a.name == "stash_type"]
    assert norms
    assert set(stash) <= {TensorProto.FLOAT}  # absent means FLOAT, the operator's default


def test_v1_holds_two_casts_and_v2_two_more_for_each_block(v1: Chain, v2: Chain) -> None:
    def casts(chain: Chain) -> int:
        return sum(node.op_type == "Cast" for node in chain.model("fp16").graph.node)

    assert casts(v1) == 2
    assert casts(v2) == 2 + 2 * 4


def test_casts_are_named_by_the_module_that_reads_them(v2: Chain) -> None:
    names = [node.name for node in v2.model("fp16").graph.node if node.op_type == "Cast"]
    assert names[:3] == ["patch_embed.proj/Cast_fp16", "blocks.0.attn/Cast_fp32", "blocks.0.attn/Cast_fp16"]
    assert names[-1] == "logits/Cast"
    assert len(set(names)) == 10


def test_no_fp32_weight_is_left_but_those_of_the_island(chain: Chain) -> None:
    model = chain.model("fp16")
    wide = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    readers = {node.op_type for node in model.graph.node for name in node.input if name in wide}
    assert readers <= FP32_ISLAND


def test_q_dq_is_typed_fp16_and_its_integers_stay_int8(chain: Chain) -> None:
    model = chain.model("int8")
    types = value_types(model)
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            kinds = [types[name] for name in (*node.input, *node.output)]
            assert kinds == [TensorProto.FLOAT16, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.INT8]
        if node.op_type == "DequantizeLinear":
            kinds = [types[name] for name in (*node.input, *node.output)]
            assert kinds == [TensorProto.INT8, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.FLOAT16]


def test_the_graph_that_was_given_is_not_changed(v2: Chain) -> None:
    model = v2.model("simplified")
    before = model.SerializeToString()
    type_graph(model, half="fp16")
    assert model.SerializeToString() == before


@pytest.mark.parametrize("sign", [1, -1])
def test_a_weight_beyond_fp16_is_refused_and_bf16_takes_it(sign: int) -> None:
    model = scaled(np.array([[sign * 65520.0, 1.0]], np.float32))
    with pytest.raises(BadInput, match=r"weight reaches 65520, beyond FP16's 65504.*--bf16"):
        type_graph(model, half="fp16")
    checker.check_model(type_graph(model, half="bf16"), full_check=True)


def test_the_largest_fp16_number_is_kept() -> None:
    typed = type_graph(scaled(np.array([[65504.0, -65504.0]], np.float32)), half="fp16")
    assert numpy_helper.to_array(typed.graph.initializer[0]).tolist() == [[65504.0, -65504.0]]


def test_a_weight_that_bf16_would_round_to_infinity_is_refused() -> None:
    with pytest.raises(BadInput, match="beyond BF16's"):
        type_graph(scaled(np.array([[3.4e38]], np.float32)), half="bf16")


FINITE_BITS = st.integers(0, 2**32 - 1).filter(lambda bits: (bits >> 16) & 0x7FFF < 0x7F7F)


@given(st.lists(FINITE_BITS, min_size=1, max_size=64))
def test_bf16_weights_have_the_bits_that_pytorch_gives(bits: list[int]) -> None:
    assert_bf16_as_pytorch(np.array([bits], np.uint32))


def test_bf16_ties_subnormals_and_zeros_have_the_bits_that_pytorch_gives() -> None:
    # Halfway above an even and above an odd number, a bit to either side of it, subnormals and both zeros.
    ties = [0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001, 0x3F81FFFF, 0xBF808000, 0xBF818000]
    assert_bf16_as_pytorch(np.array([[*ties, 0x00008000, 0x00018000, 0x00000001, 0, 0x80000000]], np.uint32))


def assert_bf16_as_pytorch(bits: npt.NDArray[np.uint32]) -> None:
    values = bits.view(np.float32)
    (tensor,) = type_graph(scaled(values), half="bf16").graph.initializer
    assert tensor.data_type == TensorProto.BFLOAT16
    wanted = torch.from_numpy(values).bfloat16().view(torch.int16).numpy()
    np.testing.assert_array_equal(np.frombuffer(tensor.raw_data, np.int16), wanted.reshape(-1))


def test_fp16_weights_have_the_values_that_pytorch_gives(chain: Chain) -> None:
    wanted = chain.deployment("half.fp16").state_dict()
    weights = {tensor.name: tensor for tensor in chain.model("fp16").graph.initializer}
    checked = 0
    for name, tensor in wanted.items():
        if f"{name}.fp16" in weights and name.endswith((".bias", ".constant")):
            got = numpy_helper.to_array(weights[f"{name}.fp16"])
            np.testing.assert_array_equal(got.reshape(tensor.shape), tensor.numpy(), err_msg=name)
            checked += 1
    assert checked > 30


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Cast", ["y"], ["z"], "stray", to=TensorProto.FLOAT),
        helper.make_node("Constant", [], ["z"], "stray", value_float=1.0),
    ],
    ids=["Cast", "Constant"],
)
def test_a_graph_that_was_not_simplified_is_refused(node: NodeProto) -> None:
    model = scaled(np.ones((1, 1), np.float32))
    model.graph.node.append(node)
    with pytest.raises(BadInput, match=rf"{node.op_type} node, stray.*simplified"):
        type_graph(model, half="fp16")


def test_a_typed_graph_is_not_typed_again(v1: Chain) -> None:
    with pytest.raises(BadInput, match="Cast"):
        type_graph(v1.model("fp16"), half="fp16")


def test_an_operator_of_unknown_type_is_refused() -> None:
    model = scaled(np.ones((1, 1), np.float32))
    model.opset_import.add(domain="elsewhere", version=1)
    model.graph.node.append(helper.make_node("Mystery", ["y"], ["z"], domain="elsewhere"))
    with pytest.raises(BadInput, match="type of z is not known"):
        type_graph(model, half="fp16")


@pytest.mark.parametrize("half", ["fp16", "bf16"])
def test_the_scales_of_a_resize_stay_fp32_and_its_image_does_not(half: str) -> None:
    """ONNX defines them so; SwinIR's real-world model enlarges by nearest neighbours."""
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[N, 1] x) => (float[N, M] y) '
        "<float[2] scales = {1.0, 2.0}, float[1] w = {3.0}> "
        '{ large = Resize <mode = "nearest"> (x, , scales) y = Add(large, w) }'
    )
    typed = type_graph(model, half=half)
    checker.check_model(typed, full_check=True)
    (resize,) = [node for node in typed.graph.node if node.op_type == "Resize"]
    types = value_types(typed)
    assert types[resize.input[2]] == TensorProto.FLOAT
    assert (types[resize.input[0]], types[resize.output[0]]) == (KINDS[half], KINDS[half])


@pytest.mark.parametrize(("factor", "casts"), [((1.0, 1.0, 0.0), 2), ((1.0, 2.0, 0.0), 4)])
def test_zeroing_padded_tokens_needs_no_fp32(factor: tuple[float, ...], casts: int) -> None:
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[1, 3, 4] x) => (float[1, 3, 4] y)'
        "{ a = Relu(x) b = Mul(a, real) y = Relu(b) }"
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(factor, np.float32)[:, None], "real"))
    typed = type_graph(model, half="fp16")
    assert sum(node.op_type == "Cast" for node in typed.graph.node) == casts
    checker.check_model(typed, full_check=True)
