"""ONNX Runtime: executes ONNX artifacts, and shows the tensors a calibration needs.

Its CPU provider computes FP16 graphs in FP32, so a run of an FP16 graph proves the graph, not FP16 numerics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from swin_deploy.artifact import Artifact, Format
from swin_deploy.device.onnxruntime_session import OnnxRuntimeSession, inference_session
from swin_deploy.errors import BadInput, Unavailable

if TYPE_CHECKING:
    import onnx
    import onnxruntime

__all__ = ["OnnxRuntime", "OnnxRuntimeSession", "literal_session", "load_faults", "outputs_of", "tensors_of"]


@dataclass(frozen=True)
class OnnxRuntime:
    """Opens ONNX artifacts on the CPU.

    Attributes:
        literal: Run the graph as written, all optimisations off: Q/DQ pairs then round exactly as they say. Optimised
            sessions fuse them into integer kernels, which round differently.
        threads: CPU threads of an operator; by default ONNX Runtime's own choice, one a core.
    """

    literal: bool = False
    threads: int | None = None

    @property
    def name(self) -> str:
        """See `Backend.name`."""
        return "onnxruntime, literal" if self.literal else "onnxruntime"

    def unavailable(self, artifact: Artifact) -> str | None:
        """See `Backend.unavailable`."""
        if artifact.format is not Format.ONNX:
            return f"ONNX Runtime does not open {artifact.format.value} files"
        return None

    def open(self, artifact: Artifact) -> OnnxRuntimeSession:
        """See `Backend.open`."""
        reason = self.unavailable(artifact)
        if reason:
            raise Unavailable(reason)
        return OnnxRuntimeSession(_load(artifact.path, literal=self.literal, threads=self.threads))


def tensors_of(
    source: Path | onnx.ModelProto,
    names: Iterable[str],
    batches: Iterable[npt.NDArray[np.float32]],
    *,
    literal: bool = False,
) -> Iterator[Mapping[str, npt.NDArray[np.float32]]]:
    """Run an FP32 graph over `batches` and yield the named inner tensors of each.

    With `literal` its Q/DQ pairs round exactly as they say; see `OnnxRuntime`.
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(onnx.load(source) if isinstance(source, Path) else source)
    wanted = list(dict.fromkeys(names))
    inputs = {value.name for value in model.graph.input}
    outer = [name for name in wanted if name not in inputs]
    present = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outer if name not in present)
    session = inference_session(model.SerializeToString(), literal=literal)
    for images in batches:
        # Not kept in a variable: a generator that waits would hold them.
        yield {
            **dict(zip(outer, session.run(outer, {session.get_inputs()[0].name: images}), strict=True)),
            **{name: images for name in wanted if name in inputs},
        }


def outputs_of(
    model: onnx.ModelProto, batches: Iterable[npt.NDArray[np.float32]]
) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Run a graph over `batches`: all optimisations but those of Q/DQ pairs, which round as they say."""
    session = inference_session(model.SerializeToString(), literal=False, exact_pairs=True)
    names = [output.name for output in session.get_outputs()]
    for images in batches:
        yield dict(zip(names, session.run(names, {session.get_inputs()[0].name: images}), strict=True))


def literal_session(model: onnx.ModelProto) -> OnnxRuntimeSession:
    """Open a graph as written, all optimisations off."""
    return OnnxRuntimeSession(inference_session(model.SerializeToString(), literal=True))


def _load(path: Path, *, literal: bool, threads: int | None) -> onnxruntime.InferenceSession:
    import onnx

    from swin_deploy.onnx_graph.widen import holds_bf16, widened

    with load_faults(path):
        model = onnx.load(path)
        if holds_bf16(model):
            return inference_session(widened(model).SerializeToString(), literal=literal, threads=threads)
        return inference_session(str(path), literal=literal, threads=threads)


@contextmanager
def load_faults(path: Path) -> Iterator[None]:
    """Turn a failure to read `path`, or to make a session of it, into a `BadInput`."""
    try:
        yield
    except Exception as error:  # protobuf's DecodeError and ONNX Runtime's C++ exceptions share no base class
        raise BadInput(
            f"{path} cannot be loaded by ONNX Runtime: {str(error).splitlines()[0]}",
            needed="a complete ONNX file of operators that its CPU provider has",
        ) from error
