"""Torch-TensorRT as a stage: deployment model -> one serialized TensorRT engine, without ONNX in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.atomic import disk_faults
from swin_deploy.backends import torch_tensorrt
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.stages.base import Produced
from swin_deploy.versions import installed

__all__ = ["TorchTensorRT"]

_DTYPES = {Precision.FP32: "float32", Precision.FP16: "float16", Precision.BF16: "bfloat16"}
_TOOLS = ("torch", "torch-tensorrt", "torch-tensorrt-rtx", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True)
class TorchTensorRT:
    """Converts a deployment model whose weights already have the wanted type.

    Attributes:
        precision: Of the deployment artifact, and so of the engine: types come from the graph, no flag sets them.
        batch: Smallest, usual and largest batch of the engine's profile.
        image_size: Height and width in pixels, to be checked against the model's; `None` takes the model's.
    """

    precision: Precision
    batch: tuple[int, int, int] = (1, 8, 32)
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Refuse a configuration that no run could honour."""
        if self.precision not in _DTYPES:
            raise UsageFault(
                f"the Torch-TensorRT stage was asked for {self.precision.value}",
                needed=" or ".join(precision.value for precision in _DTYPES),
                do="Quantized engines come from the ONNX route: --target tensorrt or rtx",
            )
        torch_tensorrt.check_batch(self.batch)

    @property
    def name(self) -> str:
        """The stage's kind."""
        return "torch_tensorrt"

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        """The deployment model of the same precision."""
        return frozenset({(Format.DEPLOYMENT, self.precision)})

    @property
    def produces(self) -> tuple[Format, Precision]:
        """The raw engine."""
        return Format.TORCH_TENSORRT_PLAN, self.precision

    @property
    def suffix(self) -> str:
        """The file name's ending."""
        return ".torch-tensorrt.plan"

    def tools(self) -> Mapping[str, str]:
        """See `Stage.tools`."""
        return installed(*_TOOLS)

    def unavailable(self) -> str | None:
        """Why the stage cannot run on this machine, or `None`."""
        return torch_tensorrt.conversion_unavailable()

    def run(self, parent: Artifact, out: Path) -> Produced:
        """Convert the deployment model at `parent.path` and write the engine to `out`.

        Raises:
            UsageFault: the model was folded for another image size.
            BadInput: its weights have another type, or it does not become one engine.
            Unavailable: torch_tensorrt is missing or finds no GPU.
            EnvironmentFault: memory or disk ran out.
        """
        import torch

        from swin_deploy.model.forms import open_deployment, spec_of

        model = open_deployment(parent.path)
        spec = spec_of(model)
        height, width = spec.image_size
        if self.image_size is not None and self.image_size != (height, width):
            raise UsageFault(
                f"{parent.path} was folded for {height}x{width} images, "
                f"and {self.image_size[0]}x{self.image_size[1]} was asked for",
                needed="the same image size, since masks and permutations are constants of it",
                do="Fold again with the other --image-size",
            )
        wanted = getattr(torch, _DTYPES[self.precision])
        seen = {parameter.dtype for parameter in model.parameters()}
        if seen != {wanted}:
            # Nothing later would notice: an engine of FP32 weights would be measured and named as FP16.
            raise BadInput(
                f"{parent.path} holds {', '.join(sorted(str(dtype) for dtype in seen))} weights",
                needed=f"{wanted} throughout for {self.precision.value}",
                do="Run the stage that types the deployment model first",
            )
        example = torch.zeros(1, spec.channels, height, width)  # [1, channels, H, W]
        result = torch_tensorrt.compile_module(model, example, outputs=spec.outputs, batch=self.batch)
        assert result.engine is not None, "a complete partition has an engine"
        with disk_faults(out):
            out.write_bytes(result.engine)
        partition = result.partition
        return Produced(
            facts={
                "engines": 1,
                "engine_operators": partition.engine_operators,
                "fallback_subgraphs": partition.fallback_subgraphs,
                "fallback_operators": dict(partition.fallback_operators),
                "attn_bias_is_causal": False,
                "batch": list(result.batch),
                "image_size": [height, width],
                "inputs": [torch_tensorrt.INPUT_NAME],
                "outputs": list(spec.outputs),
                "messages": list(result.messages),
            },
        )
