"""Numbers that a `StageSpec` does not hold, taken from the weights: slots, features, centroids.

A variant is built from a stage and a geometry alone. What else shapes its tensors has a default for training from
scratch, and a checkpoint's own tensors overrule it when they are loaded.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["adopt"]


def adopt(module: nn.Module, state: Mapping[str, Tensor], prefix: str, free: Mapping[str, tuple[int, ...]]) -> None:
    """Give tensors of `module` the size that `state` has for them; call it from `_load_from_state_dict`.

    Args:
        module: The module that is about to be loaded.
        state: The state_dict, with keys that begin with `prefix`.
        prefix: The module's own path in `state`.
        free: Name of a parameter or buffer to its axes of free length. Where another axis differs nothing is done, and
            loading complains as it does of any tensor of another shape.
    """
    for name, axes in free.items():
        own, given = getattr(module, name), state.get(prefix + name)
        if own is None or given is None or own.dim() != given.dim():
            continue
        fixed = [axis for axis in range(own.dim()) if axis not in axes]
        if 0 in given.shape or any(own.shape[axis] != given.shape[axis] for axis in fixed):
            continue
        fresh = torch.empty(given.shape, dtype=own.dtype, device=own.device)
        setattr(module, name, nn.Parameter(fresh) if isinstance(own, nn.Parameter) else fresh)
