"""ONNX Runtime on the CPU with half precision's rounding: each operator rounds its result, and accumulates in FP32.

See `swin_deploy.onnx_graph.rounded` for what that is. It is no engine: kernels that fuse several operators round less
often, so what overflows here may pass there; what is finite here has no result beyond the type's range.
"""

from __future__ import annotations

from dataclasses import dataclass

from swin_deploy.artifact import Artifact
from swin_deploy.backends.onnxruntime import OnnxRuntime, OnnxRuntimeSession, literal_session, load_faults
from swin_deploy.errors import Unavailable

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
        return OnnxRuntime().unavailable(artifact)

    def open(self, artifact: Artifact) -> OnnxRuntimeSession:
        """See `Backend.open`."""
        import onnx

        from swin_deploy.onnx_graph.rounded import rounded

        reason = self.unavailable(artifact)
        if reason:
            raise Unavailable(reason)
        with load_faults(artifact.path):
            return literal_session(rounded(onnx.load(artifact.path)))
