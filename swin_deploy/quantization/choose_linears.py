"""Which linears of a graph are quantized: by a placement policy, then a plan file, then exclusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from calib.precision_plan import PrecisionPlan, read_plan
from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.linears import Linear
from swin_deploy.onnx_graph.placement import POLICIES, placed

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["choose_linears", "macs_of"]


def choose_linears(
    model: ModelProto, grid: str, placement: str, plan_file: str | None, exclude: Sequence[str]
) -> tuple[PrecisionPlan, list[Linear]]:
    """The plan, over all linears that the policy could quantize, and all those linears.

    Args:
        model: FP32 graph.
        grid: `int8` or `fp8`.
        placement: Name of a policy.
        plan_file: A hand-written or searched plan; it overrides the policy's choice among its linears.
        exclude: Patterns; what they are found in stays in float.

    Raises:
        BadInput: nothing is left to quantize, or the plan asks for another grid.
        BadData: the plan file or a pattern is wrong.
    """
    possible = placed(model, POLICIES[placement])
    if not possible:
        raise BadInput(
            "the graph holds no block linears, nor any of a network of your own",
            needed="multiplications of tokens [B, L, C] by a constant matrix, which is what INT8 takes",
            do=f"Leave --{grid} out",
        )
    names = [linear.module for linear in possible]
    plan = read_plan(Path(plan_file), names) if plan_file else PrecisionPlan.uniform(names, grid)
    plan = plan.excluding(exclude) if exclude else plan
    other = sorted({plan.precisions[name] for name in plan.quantized} - {grid})
    if other:
        raise BadInput(
            f"{plan_file} asks for {other[0]} in the {grid} chain", needed=f"{grid} and fp16 in a plan for --{grid}"
        )
    if not plan.quantized:
        raise BadInput(
            "the plan leaves every linear in float", needed=f"at least one in {grid}", do=f"Leave --{grid} out"
        )
    return plan, possible


def macs_of(
    model: ModelProto, possible: Sequence[Linear], one_image: Mapping[str, npt.NDArray[np.float32]]
) -> dict[str, int]:
    """Multiply-accumulates of each linear for one image.

    Args:
        model: FP32 graph.
        possible: Its linears.
        one_image: Their inputs for one image, by tensor. Measured, since shape inference loses tokens that a reshape
            joins with the batch.
    """
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    return {linear.module: one_image[linear.activation].size * int(weights[linear.weight][1]) for linear in possible}
