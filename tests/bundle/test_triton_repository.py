"""The Triton model repository: read by protobuf's own parser under Triton's own schema, and filled by `finish`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from swin_deploy.bundle.triton_repository import TritonModel
from swin_deploy.device.bundle_file import read_bundle
from swin_deploy.errors import BadInput, UsageFault
from tests.bundle import triton_schema
from tests.bundle.conftest import BATCH, CLASSES

Bundled = Callable[[str], Path]


def parsed(text: str) -> Any:
    """Parse a `config.pbtxt` as Triton does: an unknown field or a wrong type is an error."""
    from google.protobuf import text_format

    return text_format.Parse(text, triton_schema.model_config()())


def test_the_schema_is_that_of_nvidias_client_package() -> None:
    found = importlib.util.find_spec("tritonclient")
    if found is None or not found.submodule_search_locations:
        pytest.skip("tritonclient is not installed: the schema is compared with nothing but itself")
    # Its gRPC parts need packages that the schema does not.
    path = Path(found.submodule_search_locations[0], "grpc/model_config_pb2.py")
    spec = importlib.util.spec_from_file_location("tritons_own_schema", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from google.protobuf.descriptor import FieldDescriptor

    kinds = {value: name[5:].lower() for name, value in vars(FieldDescriptor).items() if name.startswith("TYPE_")}
    messages = {
        name: module.DESCRIPTOR.message_types_by_name[name.partition(".")[0]] for name in triton_schema.MESSAGES
    }
    for name, fields in triton_schema.MESSAGES.items():
        inner = name.partition(".")[2]
        described = messages[name].nested_types_by_name[inner] if inner else messages[name]
        for field, (number, kind, repeated) in fields.items():
            real = described.fields_by_name[field]
            named = real.message_type or real.enum_type
            shown = named.full_name.removeprefix("inference.") if named else kinds[real.type]
            assert (real.number, shown, real.is_repeated) == (number, kind, repeated), f"{name}.{field}"
    for name, members in triton_schema.ENUMS.items():
        outer, _, inner = name.rpartition(".")
        place = messages[outer] if outer else module.DESCRIPTOR
        assert members.items() <= {value.name: value.number for value in place.enum_types_by_name[inner].values}.items()


@pytest.mark.parametrize(
    ("repository", "platform"),
    [("model_repository", "tensorrt_plan"), ("model_repository_onnx", "onnxruntime_onnx")],
)
def test_a_repository_says_what_triton_must_know(repository: str, platform: str, bundled: Bundled) -> None:
    folder = bundled("triton")
    models = sorted(path.name for path in (folder / repository).iterdir())
    assert models == ["tiny_v1_bf16", "tiny_v1_fp16", "tiny_v1_int8"]
    place = folder / repository / "tiny_v1_fp16"
    config = parsed((place / "config.pbtxt").read_text())
    assert (config.name, config.platform, config.max_batch_size) == ("tiny_v1_fp16", platform, BATCH[2])
    (image,), (logits,), (group,) = config.input, config.output, config.instance_group
    assert (image.name, list(image.dims)) == ("images", [3, 28, 28])
    assert (logits.name, list(logits.dims), logits.label_filename) == ("logits", [len(CLASSES)], "labels.txt")
    enums = triton_schema.ENUMS
    assert image.data_type == logits.data_type == enums["DataType"]["TYPE_FP32"]
    assert image.format == enums["ModelInput.Format"]["FORMAT_NCHW"]
    assert (group.kind, group.count) == (enums["ModelInstanceGroup.Kind"]["KIND_GPU"], 1)
    assert list(config.dynamic_batching.preferred_batch_size) == [2, 4]
    assert config.dynamic_batching.max_queue_delay_microseconds > 0
    assert config.optimization.cuda.graphs == (platform == "tensorrt_plan")
    assert (place / "labels.txt").read_text().split() == list(CLASSES)
    assert [path.name for path in (place / "1").iterdir()] == (
        ["model.onnx"] if repository == "model_repository_onnx" else []
    )


def test_the_parser_refuses_what_triton_would_refuse(bundled: Bundled) -> None:
    from google.protobuf import text_format

    text = (bundled("triton") / "model_repository/tiny_v1_fp16/config.pbtxt").read_text()
    for wrong in (text + "max_batchsize: 4\n", text.replace("TYPE_FP32", "FP32"), text.replace("KIND_GPU", "GPU")):
        with pytest.raises(text_format.ParseError):
            parsed(wrong)


def test_the_served_types_and_shapes_are_those_of_the_graph(bundled: Bundled) -> None:
    folder = bundled("triton")
    for engine in read_bundle(folder).engines:
        assert engine.onnx == f"model_repository_onnx/tiny_v1_{engine.name}/1/model.onnx"
        model = onnx.load(folder / engine.onnx)
        assert engine.triton is not None
        config = parsed((folder / engine.triton / "config.pbtxt").read_text())
        shape = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim[1:]]
        assert (config.input[0].name, list(config.input[0].dims)) == (model.graph.input[0].name, shape)
        assert [output.name for output in config.output] == [output.name for output in model.graph.output]


def test_a_smallest_batch_above_one_cannot_be_served(bundled: Bundled) -> None:
    folder = bundled("triton")
    graph = onnx.load(folder / read_bundle(folder).engines[0].onnx)
    with pytest.raises(UsageFault, match="smallest batch of 1"):
        TritonModel("m", graph, (2, 4, 8), {"logits": (5,)})


def test_a_fixed_batch_of_one_has_no_preferred_sizes_and_no_labels_without_names(bundled: Bundled) -> None:
    folder = bundled("triton")
    graph = onnx.load(folder / read_bundle(folder).engines[0].onnx)
    config = parsed(TritonModel("m", graph, (1, 1, 1), {"logits": (5,)}).config("tensorrt_plan"))
    assert config.max_batch_size == 1
    assert not config.dynamic_batching.preferred_batch_size
    assert not config.output[0].label_filename


def test_an_input_type_that_images_do_not_have_is_refused(bundled: Bundled) -> None:
    folder = bundled("triton")
    graph = onnx.load(folder / read_bundle(folder).engines[0].onnx)
    graph.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    with pytest.raises(BadInput, match="ONNX type"):
        TritonModel("m", graph, (1, 2, 4), {"logits": (5,)}).config("tensorrt_plan")
