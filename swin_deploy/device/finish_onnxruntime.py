"""Prove a bundle with ONNX Runtime on a CPU: nothing is built, every graph is replayed as it stands.

Its CPU provider computes FP16 graphs in FP32, so this proves the graphs and the bundle, not FP16 numerics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swin_deploy.artifact import Precision
from swin_deploy.device.bundle_file import Bundle, BundleEngine
from swin_deploy.device.closeness import Closeness, Verdict
from swin_deploy.device.finish_tool import Made
from swin_deploy.device.onnxruntime_session import OnnxRuntimeSession, inference_session
from swin_deploy.errors import BadInput, Unavailable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["OnnxRuntimeTool"]


@dataclass(frozen=True)
class OnnxRuntimeTool:
    """See `FinishTool`.

    Attributes:
        bundle: What is finished.
        folder: The unpacked bundle.
    """

    bundle: Bundle
    folder: Path

    def __post_init__(self) -> None:
        """Refuse a machine without the package.

        Raises:
            Unavailable: it is not installed.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise Unavailable("onnxruntime is not installed", do="pip install onnxruntime") from error
        assert onnxruntime.__version__

    @property
    def backend(self) -> str:
        """See `FinishTool.backend`."""
        return "onnxruntime"

    @property
    def facts(self) -> Mapping[str, str]:
        """See `FinishTool.facts`."""
        import onnxruntime

        return {"package": "onnxruntime", "version": str(onnxruntime.__version__)}

    def engines(self) -> tuple[BundleEngine, ...]:
        """All of them: it reads every profile."""
        return self.bundle.engines

    def gate(self, engine: BundleEngine) -> Closeness:
        """See `FinishTool.gate`."""
        return engine.graph_gate

    def not_executable(self, engine: BundleEngine) -> str | None:
        """See `FinishTool.not_executable`."""
        if engine.precision is Precision.BF16:
            return "ONNX Runtime's CPU provider has no BF16"
        return None

    def make(self, engine: BundleEngine) -> Made:
        """The graph itself."""
        return Made(self.folder / engine.onnx)

    def open(self, made: Made, engine: BundleEngine) -> OnnxRuntimeSession:
        """See `FinishTool.open`. Q/DQ pairs round as they say."""
        try:
            return _Session(inference_session(str(made.path), literal=engine.precision.quantized))
        except Exception as error:  # its exceptions share no base class
            raise BadInput(f"{made.path} cannot be loaded by ONNX Runtime: {_reason(error)}") from error

    def name(self, made: Made, engine: BundleEngine, verdict: Verdict) -> Path:
        """The bundle's own file stays as it is."""
        return made.path

    def finished(self, engine: BundleEngine) -> Made:
        """See `FinishTool.finished`."""
        return self.make(engine)


class _Session(OnnxRuntimeSession):
    """One whose refusals are explained: nothing is known of a bundle's graph before it runs."""

    def infer(self, images: npt.NDArray[np.float32]) -> Mapping[str, npt.NDArray[np.float32]]:
        """See `OnnxRuntimeSession.infer`.

        Raises:
            BadInput: the graph does not take the images.
        """
        try:
            return super().infer(images)
        except Exception as error:
            raise BadInput(
                f"ONNX Runtime refuses the images: {_reason(error)}", needed="the fixtures' graph"
            ) from error


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
