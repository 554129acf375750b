"""Run any callable on torch tensors as a session: shared by the eager, compiled and packaged backends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from swin_deploy.backends.base import Outputs
from swin_deploy.device.phase_times import PhaseTimes
from swin_deploy.errors import EnvironmentFault
from swin_deploy.torch_versions import exact_fp32, out_of_memory

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TorchSession", "torch_device"]


def torch_device() -> str:
    """`cuda` where PyTorch sees a GPU, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class TorchSession:
    """A function from images to its outputs on one device.

    Args:
        function: Takes a tensor [B, channels, H, W]; returns a tensor, a sequence of them or a mapping to them, each
            with B as its first axis.
        device: Where it computes.
        outputs: Their names, in order; `None` numbers them, as `output0` and so on.
    """

    def __init__(self, function: Callable[[Tensor], Any], device: str, outputs: tuple[str, ...] | None = None) -> None:
        exact_fp32()
        self._function, self._device, self._outputs = function, device, outputs

    def infer(self, images: npt.NDArray[np.float32]) -> Outputs:
        """See `Session.infer`."""
        return self._run(images, lambda: None)

    def timed(self, images: npt.NDArray[np.float32]) -> tuple[Outputs, PhaseTimes | None]:
        """`infer` with the GPU time of its three phases by CUDA events; `None` in their place on a CPU."""
        if not self._device.startswith("cuda"):
            return self.infer(images), None
        import torch

        event: Any = torch.cuda.Event  # it has no types
        marks = [event(enable_timing=True) for _ in range(4)]  # before and after each of the three phases
        coming = iter(marks)
        outputs = self._run(images, lambda: next(coming).record())
        marks[-1].synchronize()
        return outputs, PhaseTimes(*(start.elapsed_time(end) for start, end in pairwise(marks)))

    def _run(self, images: npt.NDArray[np.float32], mark: Callable[[], None]) -> Outputs:
        """Infer, and call `mark` before the copy in, behind it, behind the network and behind the copy out."""
        import torch

        # Tensors cannot be read-only, so read-only images are copied.
        batch = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        try:
            with torch.inference_mode():
                mark()
                there = batch.to(self._device)
                mark()
                found = _listed(self._function(there))
                mark()
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise EnvironmentFault(
                f"memory ran out on {self._device} at batch {len(images)}",
                needed="more free memory, or a smaller batch",
                do="Lower the batches with --batch and go on with --resume",
            ) from error
        names = self._outputs or tuple(f"output{index}" for index in range(len(found)))
        outputs = {name: tensor.float().cpu().numpy() for name, tensor in zip(names, found, strict=True)}
        mark()
        return outputs

    def close(self) -> None:
        """Drop the function and what it holds."""
        self._function = _closed

    def __enter__(self) -> TorchSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _listed(result: Any) -> tuple[Tensor, ...]:
    if isinstance(result, Mapping):
        return tuple(result.values())
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def _closed(images: Tensor) -> Tensor:
    raise AssertionError("the session is closed")
