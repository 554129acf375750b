"""ONNX Runtime: executes ONNX artifacts, and shows the tensors a calibration needs.

Its CPU provider computes FP16 graphs in FP32, so a run of an FP16 graph proves the graph, not FP16 numerics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from swin_deploy.artifact import Artifact, Format
from swin_deploy.backends.base import Outputs
from swin_deploy.errors import BadInput, Unavailable

if TYPE_CHECKING:
    import onnx
    import onnxruntime

__all__ = ["OnnxRuntime", "OnnxRuntimeSession", "outputs_of", "tensors_of"]


@dataclass(frozen=True)
class OnnxRuntime:
    """Opens ONNX artifacts on the CPU.

    Attributes:
        literal: Run the graph as written, all optimisations off: Q/DQ pairs then round exactly as they say. Optimised
            sessions fuse them into integer kernels, which round differently.
    """

    literal: bool = False

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
        return OnnxRuntimeSession(_load(artifact.path, literal=self.literal))


class OnnxRuntimeSession:
    """One loaded graph."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self._input = session.get_inputs()[0].name
        self._outputs = [output.name for output in session.get_outputs()]

    def infer(self, images: npt.NDArray[np.float32]) -> Outputs:
        """See `Session.infer`."""
        assert self._session is not None, "the session is closed"
        return dict(zip(self._outputs, self._session.run(None, {self._input: images}), strict=True))

    def close(self) -> None:
        """Free the graph."""
        self._session = None

    def __enter__(self) -> OnnxRuntimeSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
    session = _session(model.SerializeToString(), literal=literal)
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
    session = _session(model.SerializeToString(), literal=False, exact_pairs=True)
    names = [output.name for output in session.get_outputs()]
    for images in batches:
        yield dict(zip(names, session.run(names, {session.get_inputs()[0].name: images}), strict=True))


def _load(path: Path, *, literal: bool) -> onnxruntime.InferenceSession:
    import onnx

    from swin_deploy.onnx_graph.widen import holds_bf16, widened

    try:
        model = onnx.load(path)
        if holds_bf16(model):
            return _session(widened(model).SerializeToString(), literal=literal)
        return _session(str(path), literal=literal)
    except Exception as error:  # protobuf's DecodeError and ONNX Runtime's C++ exceptions share no base class
        raise BadInput(
            f"{path} cannot be loaded by ONNX Runtime: {str(error).splitlines()[0]}",
            needed="a complete ONNX file of operators that its CPU provider has",
        ) from error


def _session(model: str | bytes, *, literal: bool, exact_pairs: bool = False) -> Any:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    if literal:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if exact_pairs:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
