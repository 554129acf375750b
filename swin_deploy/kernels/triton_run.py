"""Carry launches out as PyTorch traces or executes them: on a GPU, and into the graphs that Inductor compiles."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from swin_deploy.kernels.launch import Launch

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["TritonRun", "jit_kernel"]


class TritonRun:
    """See `launch.Run`."""

    def empty(self, shape: Sequence[int], dtype: torch.dtype, like: Tensor) -> Tensor:
        """See `Run.empty`."""
        return like.new_empty(tuple(shape), dtype=dtype)

    def launch(self, launch: Launch) -> None:
        """See `Run.launch`. Inside a `triton_op` that is traced the launch becomes a node of the graph."""
        from torch.library import wrap_triton

        kernel = wrap_triton(jit_kernel(launch.kernel))
        kernel[launch.grid](**launch.arguments, **launch.constants, num_warps=launch.warps, num_stages=launch.stages)


def jit_kernel(name: str) -> Any:
    """The compiled form of the kernel `name`."""
    return getattr(importlib.import_module(f"swin_deploy.kernels.triton.{name}"), f"{name}_kernel")
