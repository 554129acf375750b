"""The fused operators by their kernels, whoever carries the launches out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from torch import Tensor

from swin_deploy.kernels import add_norm as _add_norm
from swin_deploy.kernels import linear as _linear
from swin_deploy.kernels import mlp as _mlp
from swin_deploy.kernels import patch_embed as _patch_embed
from swin_deploy.kernels import quantize_rows as _quantize_rows
from swin_deploy.kernels import quantized_linear as _quantized_linear
from swin_deploy.kernels import token_mean as _token_mean
from swin_deploy.kernels import window_attention as _window_attention
from swin_deploy.kernels.launch import Run

__all__ = ["LaunchedOperators"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _on_its_run(operator: Callable[Concatenate[Run, _P], _R]) -> Callable[Concatenate[LaunchedOperators, _P], _R]:
    """`operator` as a method, its tensors made contiguous where they are not: a kernel of ours knows no strides."""

    @functools.wraps(operator)
    def method(self: LaunchedOperators, /, *given: _P.args, **options: _P.kwargs) -> _R:
        tensors: Any = [_whole(each) for each in given]
        others: Any = {name: _whole(each) for name, each in options.items()}
        return operator(self.run, *tensors, **others)

    return method


class LaunchedOperators:
    """See `operators.Operators`: each operator is a function of its own file, on one run.

    Attributes:
        run: Carries the launches out.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    patch_embed = _on_its_run(_patch_embed.patch_embed)
    linear = _on_its_run(_linear.linear)
    window_attention = _on_its_run(_window_attention.window_attention)
    mlp = _on_its_run(_mlp.mlp)
    add_norm = _on_its_run(_add_norm.add_norm)
    token_mean = _on_its_run(_token_mean.token_mean)
    quantize_rows = _on_its_run(_quantize_rows.quantize_rows)
    quantized_linear = _on_its_run(_quantized_linear.quantized_linear)


def _whole(given: Any) -> Any:
    return given.contiguous() if isinstance(given, Tensor) else given
