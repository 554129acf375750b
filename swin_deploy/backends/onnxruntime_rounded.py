"""ONNX Runtime on the CPU with half precision's rounding: each operator rounds its result, and accumulates in FP32.

See `swin_deploy.onnx_graph.rounded` for what that is. It is no engine: kernels that fuse several operators round less
often, so what overflows here may pass there; what is finite here has no result beyond the type's range.
"""

from __future__ import annotations

from dataclasses import dataclass

from swin_deploy.artifact import Artifact, Format
from swin_deploy.backends.onnxruntime import OnnxRuntimeSession, literal_session
from swin_deploy.errors import BadInput, Unavailable

__all__ = ["RoundedOnnxRuntime"]


@dataclass(frozen=True)
class RoundedOnnxRuntime:
    """Opens typed ONNX artifacts on the CPU."""

    @property
    def name(self) -> str:
        """See `Backend.name`."""
        return "onnxruntime, results rounded"

    def unavailable(self, artifact: Artifact) -> str | None:
        """See `Backend.unavailable`."""
        if artifact.format is not Format.ONNX:
            return f"ONNX Runtime does not open {artifact.format.value} files"
        return None

    def open(self, artifact: Artifact) -> OnnxRuntimeSession:
        """See `Backend.open`."""
        import onnx

        from swin_deploy.onnx_graph.rounded import rounded

        reason = self.unavailable(artifact)
        if reason:
            raise Unavailable(reason)
        try:
            return literal_session(rounded(onnx.load(artifact.path)))
        except Exception as error:  # protobuf's, ONNX's and ONNX Runtime's exceptions share no base class
            raise BadInput(
                f"{artifact.path} cannot be loaded by ONNX Runtime: {str(error).splitlines()[0]}",
                needed="a complete ONNX file of operators that its CPU provider has",
            ) from error
