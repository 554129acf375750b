"""Quantize: calibrate the linears' inputs on real images and write explicit INT8 Q/DQ around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from calib.images import ImageSet
from calib.observers import OBSERVERS
from calib.preprocess import Preprocess
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.errors import BadInput
from swin_deploy.stages.base import Produced
from swin_deploy.versions import installed

__all__ = ["STEP_BYTES", "Quantize"]

# Below this many images ranges are noise; issue a note, as the ledger shows what it cost.
_FEW_IMAGES = 100
# The inputs of all quantized linears are in memory at once: 40 MiB an image of a Swin-T at 224x224, 870 at 800x1333.
STEP_BYTES = 1 << 30


@dataclass(frozen=True)
class Quantize:
    """Post-training INT8 with static ranges.

    Attributes:
        images: The calibration images.
        preprocess: How they become network inputs.
        method: Name of an observer in `calib.observers.OBSERVERS`.
        batch: Images a calibration step, at most: fewer of a dense network, whose activations fill `STEP_BYTES` sooner.
    """

    images: ImageSet
    preprocess: Preprocess
    method: str = "percentile"
    batch: int = 32
    name: str = "quantize"
    suffix: str = ".onnx"

    def __post_init__(self) -> None:
        """Refuse an observer that does not exist, and an empty batch."""
        if self.method not in OBSERVERS:
            raise BadInput(f"no calibration method {self.method!r}", needed="one of " + ", ".join(OBSERVERS))
        if self.batch < 1:
            raise BadInput(f"a calibration batch of {self.batch}", needed="at least 1 image")

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        """See `Stage.accepts`."""
        return frozenset({(Format.ONNX, Precision.FP32)})

    @property
    def produces(self) -> tuple[Format, Precision]:
        """See `Stage.produces`."""
        return Format.ONNX, Precision.INT8

    def tools(self) -> Mapping[str, str]:
        """See `Stage.tools`."""
        return installed("onnx", "onnxruntime", "numpy")

    def unavailable(self) -> str | None:
        """See `Stage.unavailable`."""
        return None

    def run(self, parent: Artifact, out: Path) -> Produced:
        """See `Stage.run`."""
        import onnx

        from calib.ranges import collect_ranges
        from swin_deploy.backends.onnxruntime import tensors_of
        from swin_deploy.onnx_graph.census import graph_facts
        from swin_deploy.onnx_graph.linears import quantizable
        from swin_deploy.onnx_graph.names import set_metadata
        from swin_deploy.onnx_graph.qdq import insert_qdq

        model = onnx.load(parent.path)
        chosen = quantizable(model)
        if not chosen:
            raise BadInput(
                f"{parent.path} holds no block linears, nor any of a network of your own",
                needed="multiplications of tokens [B, L, C] by a constant matrix, which is what INT8 takes",
                do="Leave --int8 out",
            )
        wanted = tuple(axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim[-2:])
        if wanted != (self.preprocess.height, self.preprocess.width):
            raise BadInput(
                f"the preprocessing gives images of {self.preprocess.height}x{self.preprocess.width}",
                needed=f"{wanted[0]}x{wanted[1]}, the size that the graph was exported for",
            )
        names = [linear.activation for linear in chosen]
        (first,) = tensors_of(parent.path, names, [self.preprocess.batch([self.images[0]])])
        step = max(1, min(self.batch, STEP_BYTES // sum(values.nbytes for values in first.values())))
        batches = (
            self.preprocess.batch(self.images[i] for i in range(start, min(start + step, len(self.images))))
            for start in range(0, len(self.images), step)
        )
        table = collect_ranges(
            tensors_of(parent.path, names, batches),
            self.method,
            images=len(self.images),
            data_fingerprint=self.images.fingerprint(),
        )
        quantized = insert_qdq(model, chosen, table.amax)
        set_metadata(quantized, precision=Precision.INT8.value)
        onnx.checker.check_model(quantized, full_check=True)
        onnx.save(quantized, out)
        notes: tuple[str, ...] = ()
        if len(self.images) < _FEW_IMAGES:
            notes = (f"only {len(self.images)} calibration images: ranges from fewer than {_FEW_IMAGES} are noisy",)
        facts = {
            **graph_facts(quantized),
            "quantized_linears": [linear.module for linear in chosen],
            "calibration": table.to_json(),
            "preprocess": self.preprocess.to_json(),
        }
        return Produced(facts, notes)
