"""Export: the deployment form, or a captured network, becomes an FP32 ONNX graph of the `strong` profile (opset 20).

The profile keeps LayerNormalization, Softmax and Gelu as single operators; precision is given to it later, by the cast
and quantize stages. The other profiles are lowered from this graph (stages/lower.py), so one export serves
all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.stages.base import Produced
from swin_deploy.versions import installed

__all__ = ["OPSET", "Export"]

# 19 brought FP16 Q/DQ, 20 the Gelu operator.
OPSET = 20


@dataclass(frozen=True)
class Export:
    """Export with a free batch axis.

    Attributes:
        largest_batch: Upper end of the batch axis while tracing; the graph itself has no bound.
    """

    largest_batch: int
    name: str = "export"
    suffix: str = ".onnx"

    def __post_init__(self) -> None:
        """Refuse an empty batch axis."""
        if self.largest_batch < 1:
            raise UsageFault(f"a largest batch of {self.largest_batch}", needed="at least 1")

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        """See `Stage.accepts`."""
        return frozenset({(Format.DEPLOYMENT, Precision.FP32), (Format.CAPTURED, Precision.FP32)})

    @property
    def produces(self) -> tuple[Format, Precision]:
        """See `Stage.produces`."""
        return Format.ONNX, Precision.FP32

    def tools(self) -> Mapping[str, str]:
        """See `Stage.tools`."""
        return installed("torch", "onnx", "onnxscript")

    def unavailable(self) -> str | None:
        """See `Stage.unavailable`."""
        return None

    def run(self, parent: Artifact, out: Path) -> Produced:
        """See `Stage.run`.

        Raises:
            BadInput: a network of the user's own has what ONNX has not.
        """
        import onnx

        from swin_deploy.model.network import open_network
        from swin_deploy.onnx_graph.census import graph_facts
        from swin_deploy.onnx_graph.names import name_batch_axis, name_by_module, set_metadata
        from swin_deploy.torch_versions import export_onnx

        network = open_network(parent)
        try:
            export_onnx(network.program(self.largest_batch), out, OPSET, network.outputs)
        except Exception as error:  # the exporter's own kinds; of a form of ours it would be a defect
            if network.captured is None:
                raise
            said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
            raise BadInput(
                f"the network cannot be written as ONNX: {type(error).__name__}: {said}",
                needed=f"operators that ONNX has at opset {OPSET}",
                do="Call torch.onnx.export on it, and mend what it names; --target torch needs no ONNX",
            ) from error
        model = onnx.load(out)
        name_by_module(model)
        name_batch_axis(model)
        set_metadata(model, profile="strong", precision="fp32", spec=network.spec.to_json() if network.spec else "")
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, out)
        return Produced(graph_facts(model))
