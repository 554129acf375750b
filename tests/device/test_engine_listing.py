"""The layers are read from every form that TensorRT has had, each as it was published or printed by a build."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from swin_deploy.device.engine_listing import listing_of, listing_path, read_listing, read_listings
from swin_deploy.errors import BadInput

HERE = Path(__file__).parent

# TensorRT 8.4's `trtexec --verbose`: zmurder.github.io, an analysis of its log; the copies around it are cut.
CLASSIC = """\
[01/10/2024-21:55:12] [V] [TRT] Engine Layer Information:

Layer(Myelin): {ForeignNode[/model/Constant_12_output_0.../model/Unsqueeze_6]}, Tactic: 0x0000000000000000,  -> \
/model/Transpose_output_0[Float(2,12600)], (Unnamed Layer* 689) [Shuffle]_output[Float(1,1,1)]

Layer(Reformat): /model/backbone0/conv/_input_quantizer/QuantizeLinear, Tactic: 0x00000000000003ea, \
images[Float(1,3,640,960)] -> /model/backbone0/conv/_input_quantizer/QuantizeLinear_output_0[Int8(1,3,640,960)]

[01/10/2024-21:55:12] [V] [TRT] Total per-runner device persistent memory is 130560
"""
# The same log, `--dumpLayerInfo`.
DUMPED = """\
[01/10/2024-21:55:13] [I] Layers:

Name: conv.weight + /conv/_weight_quantizer/QuantizeLinear + /conv/Conv, LayerType: CaskConvolution, Inputs: [ { \
Name: q, Location: Device, Dimensions: [1,3,640,960], Format/Datatype: Row major Int8 format }], Outputs: [ { Name: \
y, Location: Device, Dimensions: [1,32,320,480], Format/Datatype: Thirty-two wide channel vectorized row major Int8 \
format }], ParameterType: Convolution, Weights: {"Type": "Int8", "Count": 864}, Bias: {"Type": "Float", "Count": \
32}, Activation: RELU, TacticName: ampere_first_layer_filter3x3_imma_fwd, TacticValue: 0x9ae0c0d2fb3a01e5
"""
# TensorRT 10, issue 4397 of NVIDIA/TensorRT and the AlexNet of a public repository: constants among the inputs.
TEN = """\
[11/01/2024-10:32:57] [V] [TRT] Layers:
Name: /classifier/classifier_6/Gemm_myl9_4, LayerType: gemm, Inputs: [ { Name: output'.1_4, Dimensions: [1,4096], \
Format/Datatype: Half }, { Name: __mye595_dconst, Dimensions: [4096,1000], Format/Datatype: Half }, { Name: \
__mye574/classifier/classifier_6/Gemm_alpha, Dimensions: [1], Format/Datatype: Float }], Outputs: [ { Name: output, \
Dimensions: [1,1000], Format/Datatype: Half }], TacticName: sm50_xmma_cublas_gemvx_f16f16_f32_f32, StreamId: 0, \
Metadata: [ONNX Layer: /classifier/classifier.6/Gemm]
Name: _gemm_mha_v2_myl0_17, LayerType: kgen, Inputs: [ { Name: __mye56053, Dimensions: [4,40,64], Format/Datatype: \
Half }], Outputs: [ { Name: __mye54417, Dimensions: [4,40,64], Format/Datatype: Half }], TacticName: \
_gemm_mha_v2_0x957a2fe2, StreamId: 0, Metadata: [ONNX Layer: /attn/MatMul][ONNX Layer: /attn/Softmax]
"""


def test_the_listing_of_tensorrt_8_gives_names_types_of_tensors_and_layer_types() -> None:
    ((region, copy),) = read_listings(CLASSIC)
    assert (region.type, region.inputs, [tensor.type for tensor in region.outputs]) == ("Myelin", (), ["fp32"] * 2)
    assert [tensor.size for tensor in region.outputs] == [25200, 1]
    assert (copy.type, copy.inputs[0].type, copy.outputs[0].type) == ("Reformat", "fp32", "int8")


def test_the_dump_of_tensorrt_8_gives_the_weights_and_the_names_that_a_layer_was_joined_of() -> None:
    ((layer,),) = read_listings(DUMPED)
    assert layer.onnx == ("conv.weight", "/conv/_weight_quantizer/QuantizeLinear", "/conv/Conv")
    assert (layer.inputs[0].type, layer.outputs[0].type) == ("int8", "int8")
    assert [(weights.type, weights.size) for weights in layer.constants] == [("int8", 864)]
    assert layer.tactic == "ampere_first_layer_filter3x3_imma_fwd"


def test_constants_that_tensorrt_10_lists_among_the_inputs_are_told_apart() -> None:
    ((product, attention),) = read_listings(TEN)
    assert [tensor.name for tensor in product.inputs] == ["output'.1_4"]
    assert [(tensor.type, tensor.size) for tensor in product.constants] == [("fp16", 4096000), ("fp32", 1)]
    assert product.onnx == ("/classifier/classifier.6/Gemm",)
    assert attention.onnx == ("/attn/MatMul", "/attn/Softmax")


def test_a_real_listing_of_tensorrt_for_rtx_keeps_constants_and_order() -> None:
    (layers,) = read_listings((HERE / "census_int8_linears.log").read_text())
    assert [layer.type for layer in layers] == ["shape_call", "kgen", "gemm", "kgen", "gemm", "kgen", "gemm"]
    product = layers[2]
    assert ([tensor.type for tensor in product.inputs], product.constants[0].type) == (["int8"], "int8")
    assert product.constants[0].size == 96 * 384


@pytest.mark.parametrize(
    "tensor",
    [
        {"Name": "x", "Location": "Device", "Dimensions": [1, 3, 4], "Format/Datatype": "Row major linear FP16 format"},
        {"Name": "x", "Dimensions": [1, 3, 4], "Format/Datatype": "Half"},
        # TensorRT 11 splits the field: NVIDIA's guide "Migrating IEngineInspector Usage from TensorRT 10.x to 11.x".
        {"Name": "x", "Dimensions": [1, 3, 4], "Datatype": "Half", "Format": "(Linear) Row major linear format"},
    ],
)
def test_the_inspectors_json_is_read_in_the_words_of_each_version(tensor: dict[str, object]) -> None:
    layer = {
        "Name": "fc",
        "LayerType": "gemm",
        "Inputs": [tensor],
        "Outputs": [],
        "Metadata": "[ONNX Layer: a/MatMul]\x1e[ONNX Layer: a/Add]",
    }
    ((read,),) = read_listings(json.dumps({"Layers": [layer], "Bindings": ["x"]}))
    assert (read.inputs[0].type, read.inputs[0].size) == ("fp16", 12)
    assert read.onnx == ("a/MatMul", "a/Add")


def test_an_engine_built_without_details_has_names_and_nothing_else() -> None:
    # issue 4020 of NVIDIA/TensorRT: the builder's default verbosity
    ((first, _),) = read_listings('{"Layers": ["Reformatting CopyNode for Input Tensor 0 to conv0", "conv0 + relu0"]}')
    assert (first.type, first.inputs) == ("", ())


def test_what_is_kept_of_a_log_gives_the_same_layers() -> None:
    log = "much before\n" + CLASSIC + "between\n" + TEN + "and behind\n"
    kept = listing_of(log)
    assert read_listings(kept) == read_listings(log)
    assert "persistent memory" not in kept and "much before" not in kept


def test_a_compressed_listing_is_read_as_it_is(tmp_path: Path) -> None:
    path = listing_path(tmp_path / "fp16.rtx.plan")
    assert path.name == "fp16.rtx.plan.layers.txt.gz"
    path.write_bytes(gzip.compress(TEN.encode()))
    assert read_listing(path) == read_listings(TEN)


@pytest.mark.parametrize(
    "content", [b"nothing of the kind", b'{"Layers": 3}', b'{"no": "layers"}', b"{", b"\x1f\x8bcut short", b""]
)
def test_a_file_without_layers_is_refused_with_what_is_needed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(BadInput, match="trtexec"):
        read_listing(tmp_path / "log")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_listing(tmp_path / "log")


def test_a_json_of_another_kind_is_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text('{"steps": []}')
    with pytest.raises(BadInput, match=r"manifest\.json: the engine inspector's JSON"):
        read_listing(path)
