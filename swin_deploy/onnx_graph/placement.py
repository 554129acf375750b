"""Where Q/DQ goes: named policies, each a choice of linears by the path of their module.

Kernel counts are those of TensorRT for RTX 1.6.1 for compute capability 8.6 and a free batch of 1 to 32, of a Swin-T at
224x224 and a Swin V2-T at 256x256 with random weights; FP16 alone has 108 and 120. Every policy keeps all 12 attentions
fused. Patch embedding and head are in none: the head's product in INT8 costs a kernel more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.linears import BLOCK_LINEARS, Linear, linears, quantizable

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["POLICIES", "Policy", "placed"]


@dataclass(frozen=True)
class Policy:
    """One row of the table.

    Attributes:
        name: What `--placement` calls it.
        summary: One line for help texts, with the measured kernel counts.
        linears: Whole module paths that it takes.
        attention: Whether both products of each attention are quantized too; see `onnx_graph.attention_qdq`.
    """

    name: str
    summary: str
    linears: re.Pattern[str]
    attention: bool = False


_ATTENTION = r"blocks\.\d+\.attn\.(window\.)?(qkv|proj)"
_TABLE = (
    Policy(
        "linears",
        "qkv, proj, fc1 and fc2 of every block: 120 kernels (V2: 132), 48 products in INT8",
        BLOCK_LINEARS,
    ),
    Policy(
        "no-fc2",
        "without fc2, whose input behind the GELU is the hardest to quantize: 120 kernels (V2: 132), 36 in INT8",
        re.compile(rf"{_ATTENTION}|blocks\.\d+\.mlp\.0"),
    ),
    Policy(
        "mlp",
        "fc1 and fc2 alone: 120 kernels (V2: 132), 24 in INT8",
        re.compile(r"blocks\.\d+\.mlp\.(0|2)"),
    ),
    Policy(
        "attention-linears",
        "qkv and proj alone: 108 kernels (V2: 120), as many as in FP16, 24 in INT8",
        re.compile(_ATTENTION),
    ),
    Policy(
        "linears-and-attention",
        "the four linears and both products of each attention: 120 kernels (V2: 132), 48 in INT8 and the attentions",
        BLOCK_LINEARS,
        attention=True,
    ),
    Policy(
        "merges",
        "the four linears and the patch mergings' reductions: 120 kernels (V2: 132), 51 in INT8",
        re.compile(rf"{BLOCK_LINEARS.pattern}|blocks\.\d+\.merge\.reduction"),
    ),
)
POLICIES: Mapping[str, Policy] = MappingProxyType({policy.name: policy for policy in _TABLE})
"""The policies by name; `linears` is the default."""


def placed(model: ModelProto, policy: Policy) -> list[Linear]:
    """The linears of `model` that `policy` takes, in graph order.

    Of a user's own network no module is known by name: `linears` takes all that it has.

    Raises:
        BadInput: there are linears to quantize, but the policy takes none of them.
    """
    default = quantizable(model)
    if policy.linears == BLOCK_LINEARS:
        return default
    found = [linear for linear in linears(model) if policy.linears.fullmatch(linear.module)]
    if default and not found:
        raise BadInput(
            f"the placement {policy.name} takes none of the graph's linears, such as {default[0].module}",
            needed="linears with the paths that it knows: " + policy.linears.pattern,
            do="Use the placement `linears`, which takes all linears of a network of your own",
        )
    return found
