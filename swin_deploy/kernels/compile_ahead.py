"""Compile what a measurement is about to launch, on many cores at once: one after another it takes a second each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from swin_deploy.kernels.launch import Launch
from swin_deploy.kernels.triton_run import jit_kernel

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["CompilingRun", "compiled_together"]


class CompilingRun:
    """See `launch.Run`: compiles each launch for the GPU that is there, and launches nothing."""

    def empty(self, shape: Sequence[int], dtype: torch.dtype, like: Tensor) -> Tensor:
        """See `Run.empty`."""
        return like.new_empty(tuple(shape), dtype=dtype)

    def launch(self, launch: Launch) -> None:
        """See `Run.launch`."""
        jit_kernel(launch.kernel).run(
            grid=launch.grid,
            warmup=True,
            **launch.arguments,
            **launch.constants,
            num_warps=launch.warps,
            num_stages=launch.stages,
        )


def compiled_together(work: Callable[[], object], threads: int) -> bool:
    """Carry out `work`, whose launches a `CompilingRun` has, with the compilers side by side.

    A launch that cannot be compiled says so when it is launched for good.

    Returns:
        Whether this Triton can; else nothing was done, and each kernel is compiled when it is launched first.
    """
    try:
        from triton.runtime._async_compile import AsyncCompileMode  # not public, and not in every Triton
    except ImportError:
        return False
    with ThreadPoolExecutor(threads) as pool, AsyncCompileMode(pool, ignore_errors=True):
        work()
    return True
