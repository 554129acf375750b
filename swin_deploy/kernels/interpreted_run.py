"""Carry launches out in Triton's interpreter: the kernels themselves, on any CPU, slowly.

The interpreter computes each program with NumPy, in the order of the grid. What it cannot show is what a GPU's own
arithmetic and memory model do. TRITON_INTERPRET=1 has to be set as long as the process lives: Triton decides at its
import, and again at each kernel's. Nothing can be compiled in such a process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swin_deploy.errors import Unavailable
from swin_deploy.kernels.interpreter_faults import mended
from swin_deploy.kernels.launch import Launch
from swin_deploy.kernels.triton_run import jit_kernel

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["InterpretedRun", "unavailable"]


class InterpretedRun:
    """See `launch.Run`.

    What is asked for empty is filled with NaN (integers with their largest value), so that an element that no program
    writes, or that one reads too early, shows in the result.

    Raises:
        Unavailable: see `unavailable`.
    """

    def __init__(self) -> None:
        reason = unavailable()
        if reason:
            raise Unavailable(reason)

    def empty(self, shape: Sequence[int], dtype: torch.dtype, like: Tensor) -> Tensor:
        """See `Run.empty`."""
        import torch

        poison = float("nan") if dtype.is_floating_point else torch.iinfo(dtype).max
        return torch.full(tuple(shape), poison, dtype=torch.float32 if dtype.itemsize == 1 else dtype).to(dtype)

    def launch(self, launch: Launch) -> None:
        """See `Run.launch`."""
        kernel = jit_kernel(launch.kernel)
        with mended():
            kernel[launch.grid](
                **launch.arguments, **launch.constants, num_warps=launch.warps, num_stages=launch.stages
            )


def unavailable() -> str | None:
    """Why nothing can be interpreted in this process, or `None`."""
    try:
        import triton.language as tl
        from triton.runtime.interpreter import InterpretedFunction
    except ImportError as error:
        return f"Triton cannot be imported: {error}"
    if not isinstance(tl.sum, InterpretedFunction):
        return "Triton was imported to compile: set TRITON_INTERPRET=1 before Python starts"
    return None
