"""Option values that click has no type for: sizes and lists."""

from __future__ import annotations

import re
from typing import Any

import click

__all__ = ["BATCHES", "BLOCKS", "SIZE", "SIZES", "SM", "STAGES", "TRIPLE", "WORDS"]


class Size(click.ParamType):  # type: ignore[type-arg] # generic in late releases only
    """`N` or `HxW`, as (height, width)."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse, or fail with what was seen."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"([0-9]+)(?:x([0-9]+))?", value.strip())
        if not found or int(found[1]) < 1 or int(found[2] or found[1]) < 1:
            self.fail(f"{value!r} is no size: N or HxW, e.g. 224 or 800x1344", param, ctx)
        return int(found[1]), int(found[2] or found[1])


class Batches(click.ParamType):  # type: ignore[type-arg] # generic in late releases only
    """`MIN,OPT,MAX`, or one number for all three."""

    name = "min,opt,max"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int, int]:
        """Parse, or fail with what was seen."""
        if isinstance(value, tuple):
            return value
        parts = value.split(",")
        if len(parts) not in (1, 3) or not all(re.fullmatch(r"[0-9]+", part.strip()) for part in parts):
            self.fail(f"{value!r} is no batch profile: MIN,OPT,MAX or one number, e.g. 1,8,32", param, ctx)
        low, *rest = [int(part) for part in parts]
        return (low, *rest) if rest else (low, low, low)  # type: ignore[return-value]


class Words(click.ParamType):  # type: ignore[type-arg] # generic in late releases only
    """A comma-separated list."""

    def __init__(self, name: str, pattern: str, example: str) -> None:
        self.name, self._pattern, self._example = name, re.compile(pattern), example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Parse, or fail with what was seen."""
        if isinstance(value, tuple):
            return value
        parts = tuple(part.strip() for part in value.split(","))
        wrong = [part for part in parts if not self._pattern.fullmatch(part)]
        if wrong:
            self.fail(f"{wrong[0]!r} is not understood; for example {self._example}", param, ctx)
        return parts


class Triple(click.ParamType):  # type: ignore[type-arg] # generic in late releases only
    """Three comma-separated numbers, for R, G and B."""

    name = "r,g,b"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Parse, or fail with what was seen."""
        if isinstance(value, tuple):
            return value
        try:
            red, green, blue = (float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no triple: R,G,B, e.g. 0.485,0.456,0.406", param, ctx)
        return red, green, blue


class Sizes(click.ParamType):  # type: ignore[type-arg] # generic in late releases only
    """A comma-separated list of `N` or `HxW`."""

    name = "size,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[int, int], ...]:
        """Parse, or fail with what was seen."""
        if isinstance(value, tuple):
            return value
        return tuple(SIZE.convert(part, param, ctx) for part in value.split(","))


class Stages(click.ParamType):  # type: ignore[type-arg] # generic in late releases only
    """A comma-separated list of stage indices."""

    name = "stage,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Parse, or fail with what was seen."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in value.split(",")]
        if not all(re.fullmatch(r"[0-9]+", part) for part in parts):
            self.fail(f"{value!r} is no list of stages, e.g. 1,2,3", param, ctx)
        return tuple(map(int, parts))


SIZE = Size()
SIZES = Sizes()
STAGES = Stages()
BATCHES = Batches()
TRIPLE = Triple()
SM = Words("sm", r"\d+\.\d", "8.6,8.9,12.0")
WORDS = Words("list", r"[a-z0-9-]+", "engine,accuracy")
BLOCKS = Words("block,...", r"[\w.]+", "blocks.3,blocks.7")
