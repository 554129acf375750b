"""The errors of the toolkit and the exit status each one stands for.

The statuses are documented in the README: 0 fine, 1 our own bug, 2 usage, 3 unavailable, 4 a gate
failed, 5 unusable input, 6 the environment, 130 interrupted.
"""

from __future__ import annotations

from calib.errors import BadData, ExplainedError

__all__ = [
    "BadData",
    "BadInput",
    "EnvironmentFault",
    "ExplainedError",
    "GateFailed",
    "Unavailable",
    "UsageFault",
]


class UsageFault(ExplainedError):
    """Options that contradict each other or that no stage can honour."""

    exit_code = 2


class Unavailable(ExplainedError):
    """Something needed is not installed or not present: a package, a compiler, a GPU."""

    exit_code = 3


class GateFailed(ExplainedError):
    """An artifact was built and measured, and is not close enough to the oracle."""

    exit_code = 4


class BadInput(ExplainedError):
    """A checkpoint, side-car or artifact that cannot be used."""

    exit_code = 5


class EnvironmentFault(ExplainedError):
    """The machine gave out: disk, memory or a time limit."""

    exit_code = 6
