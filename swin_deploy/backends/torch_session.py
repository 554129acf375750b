"""Run any callable on torch tensors as a session: shared by the eager, compiled and packaged backends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from swin_deploy.backends.base import Outputs
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
        import torch

        # Tensors cannot be read-only, so read-only images are copied.
        batch = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        try:
            with torch.inference_mode():
                found = _listed(self._function(batch.to(self._device)))
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise EnvironmentFault(
                f"memory ran out on {self._device} at batch {len(images)}",
                needed="more free memory, or a smaller batch",
                do="Lower the batches with --batch and go on with --resume",
            ) from error
        names = self._outputs or tuple(f"output{index}" for index in range(len(found)))
        return {name: tensor.float().cpu().numpy() for name, tensor in zip(names, found, strict=True)}

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
