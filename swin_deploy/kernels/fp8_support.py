"""Which GPUs multiply FP8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swin_deploy.errors import Unavailable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["refuse_without_fp8", "unavailable"]

# Ada and Hopper brought E4M3 tensor cores. Source: NVIDIA, PTX ISA, mma and wgmma with .e4m3: sm_89 and sm_90.
_FIRST = (8, 9)


def unavailable(capability: tuple[int, int]) -> str | None:
    """Why a GPU of this compute capability has no FP8 linears, or `None`."""
    if capability >= _FIRST:
        return None
    return f"FP8 needs compute capability 8.9 or later, this is {capability[0]}.{capability[1]}"


def refuse_without_fp8(x: Tensor) -> None:
    """Explain in time what Triton's compiler would say of its own type names.

    Raises:
        Unavailable: `x` is on a GPU without FP8. One that is only traced for, where there is none, is let through.
    """
    import torch

    if x.device.type != "cuda" or not torch.cuda.is_available():
        return
    reason = unavailable(torch.cuda.get_device_capability(x.device))
    if reason is not None:
        raise Unavailable(reason, do="Use INT8 or half precision")
