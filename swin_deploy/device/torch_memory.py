"""Device memory out of PyTorch's allocator, so that a process which runs both does not reserve the GPU twice.

PyTorch keeps what it once took from the driver. A session beside it that asks the driver for more can therefore run
out of memory that PyTorch holds and does not use; asking PyTorch's own allocator reuses it.
"""

from __future__ import annotations

import sys
from typing import Any

from swin_deploy.errors import EnvironmentFault

__all__ = ["TorchMemory", "loaded_torch_memory"]


class TorchMemory:
    """A `cuda_memory.DeviceMemory` out of PyTorch's caching allocator.

    Args:
        torch: The imported module, with CUDA.
        device: Which GPU; PyTorch and the driver number them alike.
    """

    def __init__(self, torch: Any, device: int) -> None:
        self._torch, self._device = torch, device

    def allocate(self, size: int, stream: int) -> int:
        """The address of `size` new bytes; the allocator keeps them apart from those of other streams."""
        try:
            address: int = self._torch.cuda.caching_allocator_alloc(size, self._device, stream)
        except self._torch.cuda.OutOfMemoryError as error:
            raise EnvironmentFault(
                f"the GPU is out of memory (PyTorch's allocator was asked for {size >> 20} MiB)",
                do="Close what else uses the GPU, or use a smaller batch",
            ) from error
        return address

    def free(self, address: int) -> None:
        """Back to the allocator's pool, not to the driver."""
        self._torch.cuda.caching_allocator_delete(address)


def loaded_torch_memory(device: int) -> TorchMemory | None:
    """PyTorch's memory if this process has loaded PyTorch and it has CUDA, else `None`.

    PyTorch is not loaded for this: that takes seconds and hundreds of megabytes, and without it in the process there
    is nothing to share memory with.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return TorchMemory(torch, device)
