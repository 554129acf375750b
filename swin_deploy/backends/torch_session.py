"""Run any callable on torch tensors as a session: shared by the eager, compiled and packaged backends."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

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
    """A function from images to logits on one device."""

    def __init__(self, function: Callable[[Tensor], Tensor], device: str) -> None:
        exact_fp32()
        self._function, self._device = function, device

    def infer(self, images: npt.NDArray[np.float32]) -> Outputs:
        """See `Session.infer`."""
        import torch

        # Tensors cannot be read-only, so read-only images are copied.
        batch = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        try:
            with torch.inference_mode():
                logits = self._function(batch.to(self._device))
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise EnvironmentFault(
                f"memory ran out on {self._device} at batch {len(images)}",
                needed="more free memory, or a smaller batch",
                do="Lower the batches with --batch and go on with --resume",
            ) from error
        return {"logits": logits.float().cpu().numpy()}

    def close(self) -> None:
        """Drop the function and what it holds."""
        self._function = _closed

    def __enter__(self) -> TorchSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _closed(images: Tensor) -> Tensor:
    raise AssertionError("the session is closed")
