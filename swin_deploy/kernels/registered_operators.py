"""The kernels as operators of PyTorch's own registry, `torch.ops.swin_deploy`; importing this file registers them.

Each is a `torch.library.triton_op`: a compiler looks into it and finds launches, which it takes into what it makes. A
package then holds the machine code of the kernels and calls nothing back.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from swin_deploy.kernels.launched import LaunchedOperators
from swin_deploy.kernels.triton_run import TritonRun, jit_kernel

__all__ = ["SCHEMAS"]

# See `operators.Operators`, whose methods these are.
SCHEMAS: Mapping[str, str] = MappingProxyType(
    {
        "patch_embed": (
            "(Tensor images, Tensor weight, Tensor bias, Tensor order, Tensor? norm_weight, Tensor? norm_bias, *, "
            "float eps, int[] tiles=[]) -> Tensor"
        ),
        "linear": (
            "(Tensor x, Tensor weight, Tensor? bias, Tensor? column, Tensor? residual, *, float eps=1e-05, "
            "bool gelu=False, int[] tiles=[]) -> Tensor"
        ),
        "window_attention": (
            "(Tensor qkv, Tensor padding, Tensor constant, Tensor? mask, Tensor positions, Tensor? logit_scale, *, "
            "int heads, int[] tiles=[]) -> Tensor"
        ),
        "mlp": (
            "(Tensor x, Tensor first, Tensor first_bias, Tensor second, Tensor second_bias, Tensor? norm_weight, "
            "Tensor? norm_bias, *, float eps=1e-05, int[] tiles=[]) -> Tensor"
        ),
        "add_norm": "(Tensor? x, Tensor y, Tensor weight, Tensor bias, *, float eps, int[] tiles=[]) -> Tensor",
        "token_mean": "(Tensor x, Tensor weight, Tensor bias, *, float eps, int[] tiles=[]) -> Tensor",
        "quantize_rows": (
            "(Tensor x, Tensor? norm_weight, Tensor? norm_bias, *, float eps=1e-05, bool fp8=False, int[] tiles=[]) "
            "-> (Tensor, Tensor)"
        ),
        "quantized_linear": (
            "(Tensor x, Tensor? steps, Tensor weight, Tensor weight_steps, Tensor? bias, Tensor? residual, *, "
            "bool gelu=False, bool half=True, float out_step=0.0, int[] tiles=[]) -> Tensor"
        ),
    }
)


def _register(name: str, schema: str) -> None:
    kernel = jit_kernel(name)
    method = getattr(LaunchedOperators(TritonRun()), name)

    def operator(*tensors: Any, **options: Any) -> Any:
        # PyTorch looks for kernels by name in this line, to make their source a part of its caches' keys.
        return _carried_out(kernel, method, tensors, options)

    torch.library.triton_op(f"swin_deploy::{name}", operator, mutates_args=(), schema=schema)


def _carried_out(kernel: Any, method: Any, tensors: tuple[Any, ...], options: dict[str, Any]) -> Any:
    del kernel
    return method(*tensors, **options)


for _name, _schema in SCHEMAS.items():
    _register(_name, _schema)
