"""The Swin inside a detector or segmenter: its weights stand under `backbone.`, and everything else is another's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from swin_deploy.checkpoint.architecture import read_swin
from swin_deploy.checkpoint.dialect import Layout, Reading
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.keys import KeyTable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["backbone_prefix", "output_norms", "read_backbone", "read_part"]

_PREFIX = "backbone."


def backbone_prefix(table: KeyTable) -> str:
    """`backbone.`, or nothing where the file holds the bare network."""
    return _PREFIX if any(key.startswith(_PREFIX) for key in table.shapes) else ""


def output_norms(table: KeyTable) -> tuple[int, ...]:
    """Stages whose features leave through a norm of their own: `norm0`, `norm1`, ..."""
    pattern = re.compile(re.escape(backbone_prefix(table)) + r"norm(\d+)\.weight")
    return tuple(sorted(int(found[1]) for key in table.shapes if (found := pattern.fullmatch(key))))


def read_backbone(table: KeyTable, layout: Layout, tensors: Mapping[str, Tensor], hints: ArchitectureHints) -> Reading:
    """Read what stands under `backbone.`, and say what else the file holds.

    Raises:
        BadInput: see `read_swin`.
    """
    return read_part(backbone_prefix(table), table, layout, tensors, hints)


def read_part(
    prefix: str, table: KeyTable, layout: Layout, tensors: Mapping[str, Tensor], hints: ArchitectureHints
) -> Reading:
    """Read what stands under `prefix`, and say what else the file holds.

    Raises:
        BadInput: see `read_swin`.
    """
    inside = {key: shape for key, shape in table.shapes.items() if key.startswith(prefix)}
    others = Counter(key.partition(".")[0] for key in table.shapes if key not in inside)
    reading = read_swin(KeyTable(table.origin, inside, table.usual), layout, tensors, hints)
    if not others:
        return reading
    parts = ", ".join(f"{part} ({count})" for part, count in others.items())
    said = f"{others.total()} keys beside {prefix.rstrip('.')} belong to other parts and were left out: {parts}"
    return Reading(reading.spec, reading.tensors, (*reading.evidence, said))
