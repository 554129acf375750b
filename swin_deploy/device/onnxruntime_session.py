"""A graph opened by ONNX Runtime on the CPU: the product's backend, and the proof of a bundle where no TensorRT is."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["OnnxRuntimeSession", "inference_session"]


class OnnxRuntimeSession:
    """One loaded graph. Use it as a context manager.

    Args:
        session: An `onnxruntime.InferenceSession`.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [output.name for output in session.get_outputs()]

    def infer(self, images: npt.NDArray[np.float32]) -> Mapping[str, npt.NDArray[np.float32]]:
        """Run preprocessed `images` [B, channels, H, W] in FP32; every output, by its name, has B as its first axis."""
        assert self._session is not None, "the session is closed"
        return dict(zip(self._outputs, self._session.run(None, {self._input: images})))

    def close(self) -> None:
        """Free the graph."""
        self._session = None

    def __enter__(self) -> OnnxRuntimeSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def inference_session(
    model: str | bytes, *, literal: bool, exact_pairs: bool = False, threads: int | None = None
) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU provider.

    Args:
        model: The file's name, or the serialised graph.
        literal: All optimisations off: Q/DQ pairs then round exactly as they say. Optimised sessions fuse them into
            integer kernels, which round differently.
        exact_pairs: All optimisations but those of Q/DQ pairs.
        threads: CPU threads of an operator; by default ONNX Runtime's own choice, one a core.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    if literal:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if exact_pairs:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
