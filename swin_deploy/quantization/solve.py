"""From a float graph and calibration images to a quantized one: the way of all its linears through `calib.tools`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calib.errors import BadData
from calib.grid import GRIDS
from calib.linear_sample import InputSample, InputSampler
from calib.observers import OBSERVERS
from calib.ranges import collect_ranges
from calib.tools.problem import Array, LinearProblem, Move
from calib.tools.step import METHODS
from calib.tools.toolbox import DEFAULT_TOOLS, choose_moves, finish, require_tools
from swin_deploy.onnx_graph.attention_qdq import insert_attention_qdq
from swin_deploy.onnx_graph.input_groups import InputGroup, input_groups
from swin_deploy.onnx_graph.linears import Linear, linears
from swin_deploy.onnx_graph.move_inputs import move_inputs, representable
from swin_deploy.onnx_graph.qdq import insert_qdq

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Settings", "Solved", "observe", "rows_wanted", "sample_inputs", "solve"]

# Rows of one input, as a multiple of its channels: second moments of C channels need several times C rows.
_ROWS_A_CHANNEL = 8
_LEAST_ROWS, _MOST_ROWS = 2048, 16384
_SAMPLE_BYTES = 1 << 30  # of all samples together; fewer rows where they would need more


@dataclass(frozen=True)
class Settings:
    """How linears are quantized.

    Attributes:
        grid: `int8` or `fp8`.
        method: Range method, see `calib.tools.step.METHODS`.
        tools: Names in `calib.tools.toolbox.TOOLS`.
        seed: Draws the rows of the samples.
    """

    grid: str = "int8"
    method: str = "output"
    tools: tuple[str, ...] = DEFAULT_TOOLS
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what does not exist.

        Raises:
            BadData: naming it.
        """
        if self.grid not in GRIDS:
            raise BadData(f"no grid {self.grid!r}", needed="one of " + ", ".join(GRIDS))
        if self.method not in METHODS:
            raise BadData(f"no calibration method {self.method!r}", needed="one of " + ", ".join(METHODS))
        require_tools(self.tools)


@dataclass(frozen=True, eq=False)
class Solved:
    """A float graph with moved inputs, and the solution of every linear that was asked for.

    Attributes:
        graph: Computes what the original does; nothing is quantized in it.
        groups: Tensor to its group.
        problems: Tensor to its solution.
        settings: As asked.
        attention: Largest magnitudes at the attention's products, by tensor; empty where they stay in float.
    """

    graph: ModelProto
    groups: Mapping[str, InputGroup]
    problems: Mapping[str, LinearProblem]
    settings: Settings
    attention: Mapping[str, float] = field(default_factory=dict)

    def quantized(self, *, folded: bool = False) -> ModelProto:
        """The graph with Q/DQ around every linear that is solved; for `folded` see `insert_qdq`."""
        grid = GRIDS[self.settings.grid]
        chosen = [(self.groups[tensor], problem) for tensor, problem in self.problems.items()]
        graph = insert_qdq(self.graph, chosen, grid, folded=folded)
        return insert_attention_qdq(graph, self.attention, grid) if self.attention else graph

    def restricted(self, tensors: Collection[str]) -> Solved:
        """The same graph with only these linears to quantize; the others compute in float, moved as they are."""
        return replace(
            self,
            groups={tensor: group for tensor, group in self.groups.items() if tensor in tensors},
            problems={tensor: problem for tensor, problem in self.problems.items() if tensor in tensors},
        )


def rows_wanted(channels: Mapping[str, int]) -> dict[str, int]:
    """How many rows to keep of each tensor, from its channels."""
    rows = {name: int(np.clip(_ROWS_A_CHANNEL * count, _LEAST_ROWS, _MOST_ROWS)) for name, count in channels.items()}
    needed = sum(4 * rows[name] * count for name, count in channels.items())
    return {name: max(1024, int(count * min(1.0, _SAMPLE_BYTES / needed))) for name, count in rows.items()}


def sample_inputs(
    model: ModelProto, path: Path, groups: Iterable[InputGroup], batches: Iterable[Array], images: int, seed: int
) -> dict[str, InputSample]:
    """Run the float graph over calibration batches and keep a sample of each group's input.

    Args:
        model: The graph.
        path: Its file.
        groups: Whose inputs.
        batches: [<= batch, channels, H, W] each.
        images: How many there are in all.
        seed: Draws the rows.
    """
    from swin_deploy.backends.onnxruntime import tensors_of

    shapes = {weight.name: list(weight.dims) for weight in model.graph.initializer}
    channels = {group.activation: shapes[group.linears[0].weight][0] for group in groups}
    sampler = InputSampler(images, rows_wanted(channels), seed)
    sizes: list[int] = []

    def counted() -> Iterable[Array]:
        for batch in batches:
            sizes.append(len(batch))
            yield batch

    for values in tensors_of(path, list(channels), counted()):
        sampler.update(values, sizes[-1])
    return sampler.samples()


def observe(values: Iterable[Mapping[str, Array]], settings: Settings, images: int) -> Mapping[str, float] | None:
    """What the settings' observer proposes for each tensor of the stream; `None` where the sample serves.

    Min-max needs no stream of its own, since samples keep the extremes of all tokens.
    """
    if settings.method not in OBSERVERS or settings.method == "min-max":
        return None
    tables = collect_ranges(values, (settings.method,), images=images, data_fingerprint="of this run")
    return tables[settings.method].amax


def solve(
    model: ModelProto,
    chosen: Sequence[Linear],
    samples: Mapping[str, InputSample],
    settings: Settings,
    observed: Mapping[str, float] | None = None,
) -> Solved:
    """Move inputs, choose steps, round weights and correct biases of the chosen linears.

    Args:
        model: FP32 graph.
        chosen: Its linears to quantize.
        samples: Of their inputs, by tensor.
        settings: How.
        observed: Magnitudes from full-stream observers, by tensor, where the method is one.
    """
    groups = {group.activation: group for group in input_groups(model, chosen)}
    moved: dict[str, LinearProblem] = {}
    for tensor, group in groups.items():
        weight, bias = _weights(model, group.linears)
        problem = LinearProblem(
            group.name, samples[tensor], weight, bias, group.place, GRIDS[settings.grid], settings.method
        )
        decided = choose_moves(problem, settings.tools)
        move = representable(decided.move or Move.none(len(weight)), group.place)
        moved[tensor] = replace(problem.moved(move) if move.moves else problem, trials=decided.trials)
    graph = move_inputs(
        model,
        {
            tensor: (groups[tensor], problem.move)
            for tensor, problem in moved.items()
            if problem.move is not None and problem.move.moves
        },
    )
    # A projection's move stands in the weights of its qkv, so weights are read again.
    now = {linear.module: linear for linear in linears(graph)}
    problems, placed = {}, {}
    for tensor, problem in moved.items():
        members = tuple(now[linear.module] for linear in groups[tensor].linears)
        weight, bias = _weights(graph, members)
        problems[tensor] = finish(replace(problem, weight=weight, bias=bias), settings.tools, observed)
        placed[tensor] = replace(groups[tensor], linears=members)
    return Solved(graph, placed, problems, settings)


def _weights(model: ModelProto, members: Sequence[Linear]) -> tuple[Array, Array | None]:
    """Weights [channels, outputs] and biases [outputs] of linears with one input, side by side."""
    from onnx import numpy_helper

    wanted = {name for linear in members for name in (linear.weight, linear.bias) if name}
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name in wanted}
    weight = np.concatenate([held[linear.weight] for linear in members], axis=1)
    if any(linear.bias is None for linear in members):
        return weight, None
    return weight, np.concatenate([held[str(linear.bias)] for linear in members])
