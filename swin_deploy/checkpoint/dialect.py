"""The seam between code bases: a dialect knows one way of naming and arranging a Swin's weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from swin_deploy.checkpoint.keys import KeyTable
from swin_deploy.checkpoint.sidecar import ArchitectureHints
from swin_deploy.checkpoint.spec import SwinSpec

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Dialect", "Reading"]


@dataclass(frozen=True)
class Reading:
    """What a dialect made of a checkpoint.

    Attributes:
        spec: The architecture.
        tensors: Weights under the names of `ReferenceSwin.state_dict`, FP32.
        evidence: What was inferred from what, one sentence a fact, for `inspect`.
    """

    spec: SwinSpec
    tensors: Mapping[str, Tensor]
    evidence: tuple[str, ...]


class Dialect(Protocol):
    """One code base's layout. One file a dialect; `load.DIALECTS` lists them."""

    @property
    def name(self) -> str:
        """As `inspect` prints it, e.g. `timm`."""
        ...

    def recognises(self, table: KeyTable) -> str | None:
        """The sign by which the layout is known, or `None` if the keys are not of this dialect."""
        ...

    def read(self, table: KeyTable, tensors: Mapping[str, Tensor], hints: ArchitectureHints) -> Reading:
        """Infer the architecture and rename the weights.

        Raises:
            BadInput: a key is missing, unexpected or mis-shaped, or a fact is neither in a shape nor in `hints`.
        """
        ...
