"""A model repository of the Triton Inference Server: one model a precision, to be served once its plan is finished.

Two repositories of the same model names: `model_repository` waits for the plans that `finish` puts there, and
`model_repository_onnx` serves the graphs through Triton's ONNX Runtime at once. Fields and their meaning:
model_config.proto of triton-inference-server/common, and the user guide's page "Model Configuration". With CUDA graphs
on and no graph specification, Triton's TensorRT backend captures batch 1, the preferred sizes and the largest
(triton-inference-server/tensorrt_backend pull request 38).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swin_deploy.atomic import write_text
from swin_deploy.errors import BadInput, UsageFault

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["ONNX_REPOSITORY", "PLAN_REPOSITORY", "TritonModel", "write_model"]

PLAN_REPOSITORY, ONNX_REPOSITORY = "model_repository", "model_repository_onnx"
_LABELS = "labels.txt"
# How long a request waits for others to fill a batch: about what a Swin-T takes at batch 1 on a data-centre GPU.
_QUEUE_MICROSECONDS = 1000


@dataclass(frozen=True)
class TritonModel:
    """One model.

    Attributes:
        name: Of the model and of its folder.
        graph: Its inputs and outputs.
        batches: Smallest, usual and largest batch.
        outputs: Shape of each output without the batch.
        classes: Names of the logits; empty where there are none.
    """

    name: str
    graph: ModelProto
    batches: tuple[int, int, int]
    outputs: Mapping[str, tuple[int, ...]]
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what a server cannot serve."""
        if self.batches[0] != 1:
            raise UsageFault(
                f"a smallest batch of {self.batches[0]} with --target triton",
                needed="a smallest batch of 1: Triton serves what requests there are",
                do="Build again with --batch 1,...",
            )

    def config(self, platform: str) -> str:
        """`config.pbtxt`, a ModelConfig in protobuf's text format.

        Args:
            platform: `tensorrt_plan` or `onnxruntime_onnx`.
        """
        (image,) = self.graph.graph.input
        kind = image.type.tensor_type
        lines = [
            f'name: "{self.name}"',
            f'platform: "{platform}"',
            f"max_batch_size: {self.batches[2]}",
            f'input [ {{ name: "{image.name}" data_type: {_type(kind.elem_type)} format: FORMAT_NCHW '
            f"dims: {_list(axis.dim_value for axis in kind.shape.dim[1:])} }} ]",
        ]
        for output in self.graph.graph.output:
            labels = f' label_filename: "{_LABELS}"' if self.classes else ""
            lines.append(
                f'output [ {{ name: "{output.name}" data_type: {_type(output.type.tensor_type.elem_type)} '
                f"dims: {_list(self.outputs[output.name])}{labels} }} ]"
            )
        preferred = sorted({size for size in self.batches[1:] if size > 1})
        sizes = f"preferred_batch_size: {_list(preferred)} " if preferred else ""
        lines.append(f"dynamic_batching {{ {sizes}max_queue_delay_microseconds: {_QUEUE_MICROSECONDS} }}")
        lines.append("instance_group [ { kind: KIND_GPU count: 1 } ]")
        if platform == "tensorrt_plan":
            lines.append("optimization { cuda { graphs: true } }")
        return "\n".join(lines) + "\n"


def write_model(model: TritonModel, folder: Path) -> None:
    """Write a model into both repositories below `folder`; the graph itself goes where `ONNX_REPOSITORY` has it."""
    for repository, platform in ((PLAN_REPOSITORY, "tensorrt_plan"), (ONNX_REPOSITORY, "onnxruntime_onnx")):
        place = folder / repository / model.name
        write_text(place / "config.pbtxt", model.config(platform))
        if model.classes:
            write_text(place / _LABELS, "".join(f"{name}\n" for name in model.classes))
        (place / "1").mkdir(exist_ok=True)


def _type(element: int) -> str:
    """The data type of a tensor, by its ONNX element type."""
    from onnx import TensorProto

    known: dict[int, str] = {
        TensorProto.FLOAT: "TYPE_FP32",
        TensorProto.FLOAT16: "TYPE_FP16",
        TensorProto.BFLOAT16: "TYPE_BF16",
    }
    if element not in known:
        raise BadInput(f"a tensor of the ONNX type {element}", needed="FP32, FP16 or BF16 at a graph's ends")
    return known[element]


def _list(numbers: Iterable[int]) -> str:
    return "[ " + ", ".join(map(str, numbers)) + " ]"
