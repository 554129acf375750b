"""A graph with Q/DQ around chosen linears and made-up ranges: what stands in the codes is of no account to who asks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import ModelProto, numpy_helper

from calib.grid import GRIDS, INT8, Grid, fake_quantize, weight_steps
from calib.linear_sample import InputSample
from calib.tools.problem import LinearProblem
from swin_deploy.onnx_graph.input_groups import InputGroup, input_groups
from swin_deploy.onnx_graph.linears import Linear, quantizable
from swin_deploy.onnx_graph.qdq import insert_qdq

__all__ = ["quantized_anyhow", "solved_anyhow"]


def solved_anyhow(
    model: ModelProto, chosen: Iterable[Linear], grid: Grid = INT8, step: float = 4.0 / 128
) -> list[tuple[InputGroup, LinearProblem]]:
    """Weights rounded to the nearest, and one made-up step of all inputs."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    solved = []
    for group in input_groups(model, chosen):
        weight = np.concatenate([weights[linear.weight] for linear in group.linears], axis=1)  # [channels, outputs]
        steps = weight_steps(weight, grid)
        nothing = np.zeros(len(weight), np.float32)
        problem = LinearProblem(
            group.name,
            InputSample(group.activation, nothing[None], nothing, nothing),
            weight,
            None,
            group.place,
            grid,
            step=step,
            rounded=fake_quantize(weight, steps, grid),
            weight_step=steps,
        )
        solved.append((group, problem))
    return solved


def quantized_anyhow(model: ModelProto, chosen: Iterable[Linear] | None = None, grid: str = "int8") -> ModelProto:
    """`model` with the chosen linears, or all that can be, quantized; each input is taken to reach 4."""
    members = quantizable(model) if chosen is None else chosen
    return insert_qdq(model, solved_anyhow(model, members, GRIDS[grid]), GRIDS[grid])
