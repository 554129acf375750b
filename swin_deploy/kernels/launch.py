"""One launch of a kernel as data, and whoever carries launches out.

An operator of ours is a list of launches on tensors that it asked for. PyTorch's tracing, Triton's interpreter and the
recorder of a kernel program are three ways of carrying the same launches out, so that what one proves holds for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Launch", "Run", "Tiles"]


@dataclass(frozen=True)
class Tiles:
    """How a kernel cuts its work; which of the three sizes it has, its own file says.

    Attributes:
        rows: Rows of the output a program makes (tokens, or queries); a power of 2, at least the 16 of a tensor core
            where they enter a product.
        columns: Columns of the output, or keys; a power of 2, at least 16.
        inner: Of the inner axis at a time; a power of 2, at least 16.
        warps: Warps of a program: 1, 2, 4, 8 or 16.
        stages: Of the software pipeline.
    """

    rows: int
    columns: int
    inner: int
    warps: int = 4
    stages: int = 3

    def __post_init__(self) -> None:
        """Refuse sizes that no kernel has."""
        for size, least in ((self.rows, 1), (self.columns, 16), (self.inner, 16)):
            assert size >= least and size & (size - 1) == 0, f"a tile of {size}"
        assert self.warps in (1, 2, 4, 8, 16) and 1 <= self.stages <= 8, f"{self.warps} warps, {self.stages} stages"

    def numbers(self) -> list[int]:
        """As the operators of PyTorch take them."""
        return [self.rows, self.columns, self.inner, self.warps, self.stages]

    @classmethod
    def of(cls, numbers: Sequence[int], default: Tiles) -> Tiles:
        """What `numbers` gave, or `default` where it is empty."""
        return cls(*numbers) if numbers else default


@dataclass(frozen=True)
class Launch:
    """A kernel on a grid of programs.

    Attributes:
        kernel: Its name: the function `<kernel>_kernel` in `swin_deploy/kernels/triton/<kernel>.py`.
        grid: Programs on each of the three axes; an axis that depends on the batch may be symbolic while traced.
        arguments: By parameter name: contiguous tensors (a kernel of ours knows their strides), integers that depend on
            the batch, and `None` for a tensor that is not there.
        constants: By parameter name, all the others: what the kernel is compiled for.
        warps: Warps of a program.
        stages: Of the software pipeline.
    """

    kernel: str
    grid: tuple[int, int, int]
    arguments: Mapping[str, Tensor | int | None]
    constants: Mapping[str, int | float | bool]
    warps: int
    stages: int


class Run(Protocol):
    """Who carries launches out."""

    def empty(self, shape: Sequence[int], dtype: torch.dtype, like: Tensor) -> Tensor:
        """A new contiguous tensor on the device of `like`, with nothing in it that may be read."""
        ...

    def launch(self, launch: Launch) -> None:
        """Carry `launch` out, after all before it."""
        ...
