"""Cast: an FP32 graph, quantized or not, becomes a strongly typed one with FP16 or BF16 tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.errors import UsageFault
from swin_deploy.stages.base import Produced
from swin_deploy.versions import installed

__all__ = ["Cast"]


@dataclass(frozen=True)
class Cast:
    """See `swin_deploy.onnx_graph.typing_pass`.

    Attributes:
        precision: `FP16` or `BF16`; `INT8` and `FP8` type the remainder of a quantized graph as FP16.
        fp32_blocks: Blocks of an FP16 or BF16 graph that stay in FP32, by the names of `onnx_graph.blocks`.
    """

    precision: Precision
    fp32_blocks: tuple[str, ...] = ()
    name: str = "cast"
    suffix: str = ".onnx"

    def __post_init__(self) -> None:
        """Refuse FP32, which needs no cast."""
        if self.precision is Precision.FP32:
            raise UsageFault("a cast to fp32", needed="fp16, bf16, int8 or fp8")
        if self.fp32_blocks and self.precision.quantized:
            raise UsageFault(
                f"blocks in FP32 with a cast to {self.precision.value}",
                needed="fp16 or bf16",
                do="Give a precision plan for quantized graphs",
            )

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        """See `Stage.accepts`."""
        source = self.precision if self.precision.quantized else Precision.FP32
        return frozenset({(Format.ONNX, source)})

    @property
    def produces(self) -> tuple[Format, Precision]:
        """See `Stage.produces`."""
        return Format.ONNX, self.precision

    def tools(self) -> Mapping[str, str]:
        """See `Stage.tools`."""
        return installed("onnx")

    def unavailable(self) -> str | None:
        """See `Stage.unavailable`."""
        return None

    def run(self, parent: Artifact, out: Path) -> Produced:
        """See `Stage.run`.

        Raises:
            UsageFault: the graph has no block of a name in `fp32_blocks`.
        """
        import onnx

        from swin_deploy.onnx_graph.census import graph_facts
        from swin_deploy.onnx_graph.names import set_metadata
        from swin_deploy.onnx_graph.precision_toggle import HalfToggle
        from swin_deploy.onnx_graph.quantization_audit import require_as_written
        from swin_deploy.onnx_graph.typing_pass import type_graph

        half = "bf16" if self.precision is Precision.BF16 else "fp16"
        model = onnx.load(parent.path)
        if self.fp32_blocks:
            toggle = HalfToggle(model, half)
            unknown = [block for block in self.fp32_blocks if block not in toggle.blocks]
            if unknown:
                raise UsageFault(f"--fp32-blocks {','.join(unknown)}", needed="some of " + ", ".join(toggle.blocks))
            model = toggle.raised(self.fp32_blocks)
        else:
            model = type_graph(model, half=half)
        set_metadata(model, precision=self.precision.value)
        onnx.checker.check_model(model, full_check=True)
        require_as_written(model)
        onnx.save(model, out)
        return Produced(graph_facts(model))
