"""Checkpoints of the originals (tests/golden), to read and to spoil."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from swin_deploy.checkpoint.architecture import read_swin
from swin_deploy.checkpoint.dialect import Dialect, Reading
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.keys import KeyTable
from tests.checkpoint.parity_row import golden

__all__ = ["golden_state", "read_with", "table_of"]


def golden_state(case: str) -> dict[str, Tensor]:
    """The state dict of a golden file, under the keys it has on disk."""
    return dict(golden(case)().state)


def table_of(state: dict[str, Tensor]) -> KeyTable:
    """Its keys and shapes."""
    return KeyTable("model.pth", {name: tuple(tensor.shape) for name, tensor in state.items()})


def read_with(dialect: Dialect, state: dict[str, Tensor], **hints: Any) -> Reading:
    """What the dialect makes of it."""
    table, given = table_of(state), ArchitectureHints(**{"image_size": (32, 32), **hints})
    layout = dialect.layout(table, given)
    return (layout.read or read_swin)(table, layout, state, given)
