"""Which fusions a fused form has, and with which tiles its kernels run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from swin_deploy.errors import BadInput
from swin_deploy.kernels.launch import Tiles

__all__ = ["FusionPlan", "Linears"]

Linears = Literal["half", "int8", "fp8"]


@dataclass(frozen=True)
class FusionPlan:
    """What is fused; whatever is not is plain PyTorch in the model's own type, so that each technique can be measured.

    Attributes:
        attention: Window attention, with partition and shift in how it reads and writes.
        norms: V1: each LayerNorm within the linear behind it; V2: with the sum behind it. A backbone's last ones too.
        epilogues: Bias, GELU and residual within the linear in front of them; linears with nothing of a norm are then
            kernels of ours too.
        mlp_channels: Stages of up to so many channels have their MLP in one kernel; 0 for none.
        patch_embed: Patches to tokens with the norm behind.
        head: Norm and mean of a classifier, and its linear.
        linears: The type that the linears of the blocks and mergings multiply in; `half` stands for the model's own.
            An MLP in one kernel is in the model's own type in any case.
        tiles: `Tiles.numbers()` by what a layer of the fused form calls its `case`, e.g. `linear 96x384 norm gelu`;
            a kernel's own choice for all others.
    """

    attention: bool = True
    norms: bool = True
    epilogues: bool = True
    mlp_channels: int = 192
    patch_embed: bool = True
    head: bool = True
    linears: Linears = "half"
    tiles: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse tiles that no kernel has."""
        assert self.mlp_channels >= 0, f"MLPs of up to {self.mlp_channels} channels"
        assert self.linears in ("half", "int8", "fp8"), f"linears in {self.linears}"
        for numbers in self.tiles.values():
            Tiles(*numbers)

    @classmethod
    def nothing(cls) -> FusionPlan:
        """The fused form's order of tokens and weights, and no fusion."""
        return cls(attention=False, norms=False, epilogues=False, mlp_channels=0, patch_embed=False, head=False)

    def with_tiles(self, tiles: Mapping[str, tuple[int, ...]]) -> FusionPlan:
        """The same plan with more tiles chosen."""
        return replace(self, tiles={**self.tiles, **tiles})

    def to_json(self) -> dict[str, Any]:
        """Ready for a JSON file."""
        return {**asdict(self), "tiles": {case: list(numbers) for case, numbers in self.tiles.items()}}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> FusionPlan:
        """Read what `to_json` gave.

        Raises:
            BadInput: it is of another version.
        """
        try:
            return cls(**{**raw, "tiles": {case: tuple(numbers) for case, numbers in raw["tiles"].items()}})
        except (TypeError, KeyError, AttributeError, AssertionError) as error:
            raise BadInput(f"a fusion plan that cannot be read: {error}", needed="one of this version") from error
