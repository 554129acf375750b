"""The seam between code bases: a dialect knows one way of naming and arranging a Swin's weights.

A dialect is data: how a canonical name (those of `ReferenceSwin.state_dict`) is spelled in the other code base, which
geometry rule that code base follows, and by which sign its checkpoints are known. `architecture.py` does the rest for
all of them alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.keys import KeyTable
from swin_deploy.checkpoint.spec import Family, SwinSpec

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Dialect", "Layout", "Reading", "Sources", "renamed", "split_bias"]

# Their keys that make up one canonical tensor, joined along the first axis; `None` stands for zeros.
Sources = tuple[str | None, ...]


@dataclass(frozen=True)
class Reading:
    """What a dialect made of a checkpoint.

    Attributes:
        spec: The architecture.
        tensors: Weights under the canonical names, FP32.
        evidence: What was inferred from what, one sentence a fact, for `inspect`.
    """

    spec: SwinSpec
    tensors: Mapping[str, Tensor]
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """How one checkpoint of a dialect names and arranges its weights.

    Attributes:
        family: `v1` or `v2`.
        rules: Geometry rule (a name in `RULES`) for a classifier and for a backbone.
        sources: From a canonical name to their keys, see `Sources`. Called with names that the checkpoint may lack.
        arrange: From a canonical name and the joined tensor to the canonical tensor, where an axis is ordered
            otherwise; `None` leaves all as they are.
        resize_table: How the code base itself brings a V1 bias table [rows, heads] to another window (rows and columns
            of the old and the new window), or `None` where it has no way.
        rebuilt: Last parts of keys that hold what follows from the architecture: buffers that are ignored.
        read: How this kind of model is read; `None` for `architecture.read_swin`.
    """

    family: Family
    rules: tuple[str, str]
    sources: Callable[[str], Sources]
    arrange: Callable[[str, Tensor], Tensor] | None = None
    resize_table: Callable[[Tensor, tuple[int, int], tuple[int, int]], Tensor] | None = None
    rebuilt: tuple[str, ...] = ("relative_position_index", "attn_mask", "relative_coords_table")
    read: Callable[[KeyTable, Layout, Mapping[str, Tensor], ArchitectureHints], Reading] | None = None


class Dialect(Protocol):
    """One code base's layout. One file a dialect; `load.DIALECTS` lists them."""

    @property
    def name(self) -> str:
        """As `--dialect` takes it and `inspect` prints it, e.g. `timm`."""
        ...

    def recognises(self, table: KeyTable) -> str | None:
        """The sign by which the layout is known, or `None` if the keys are not of this dialect."""
        ...

    def layout(self, table: KeyTable, hints: ArchitectureHints) -> Layout:
        """How this checkpoint is laid out; called for a recognised one, or for the one that `--dialect` names.

        Raises:
            BadInput: the dialect is known, and this model of it is not supported; the message says what is missing.
        """
        ...


def split_bias(key: str) -> Sources:
    """The keys of `key`, one tensor; of a V2's qkv bias those of query and value, the only ones there are."""
    stem, found, _ = key.partition("qkv.bias")
    return (stem + "q_bias", None, stem + "v_bias") if found else (key,)


def renamed(name: str, rules: Sequence[tuple[str, str]]) -> str:
    """Apply regular expressions to a canonical name, each once at most, in order."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name, count=1)
    return name
