"""The tools by name, in the order in which they work, and the whole way of one linear."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from calib.errors import BadData
from calib.tools.balance import Balance
from calib.tools.bias_correction import BiasCorrection
from calib.tools.problem import LinearProblem, Tool
from calib.tools.repq import RepQ
from calib.tools.rounding import Nearest, Reconstruct
from calib.tools.smoothquant import SmoothQuant
from calib.tools.step import ChooseStep

__all__ = ["DEFAULT_TOOLS", "TOOLS", "choose_moves", "finish", "require_tools"]

_MOVES: tuple[Tool, ...] = (SmoothQuant(), RepQ(), Balance())
_ROUNDING: tuple[Tool, ...] = (Reconstruct(),)
_CORRECTIONS: tuple[Tool, ...] = (BiasCorrection(),)

TOOLS: Mapping[str, Tool] = MappingProxyType({tool.name: tool for tool in (*_MOVES, *_ROUNDING, *_CORRECTIONS)})
"""Every tool by the name that users write."""

DEFAULT_TOOLS = ("balance", "reconstruct", "bias")
"""What `--int8` uses."""


def require_tools(names: Collection[str]) -> None:
    """Refuse an unknown tool.

    Raises:
        BadData: naming it.
    """
    unknown = sorted(set(names) - set(TOOLS))
    if unknown:
        raise BadData(f"no INT8 tool {', '.join(unknown)}", needed="some of " + ", ".join(TOOLS) + ", or none")


def choose_moves(problem: LinearProblem, tools: Collection[str]) -> LinearProblem:
    """Apply the chosen tools that move the input; the caller writes the move into the graph."""
    for tool in _MOVES:
        if tool.name in tools:
            problem = tool(problem)
    return problem


def finish(
    problem: LinearProblem, tools: Collection[str], observed: Mapping[str, float] | None = None
) -> LinearProblem:
    """Choose the step, round the weights and correct the bias.

    Args:
        problem: Moved, or not.
        tools: Names of the chosen tools.
        observed: See `ChooseStep.observed`.
    """
    problem = ChooseStep(observed)(problem)
    chosen = [tool for tool in _ROUNDING if tool.name in tools] or [Nearest()]
    for tool in (*chosen, *(tool for tool in _CORRECTIONS if tool.name in tools)):
        problem = tool(problem)
    return problem
