"""The part of the report that ranks blocks, kinds and linears by the damage that each does alone, after a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["sensitivity_section"]

_WORST = 5


def sensitivity_section(search: Mapping[str, Any]) -> Iterator[str]:
    """Markdown lines from the stage's `search`, see `swin_deploy.quantization.find_plan.Searched.to_json`."""
    found, sensitivity = search["plan"], search["sensitivity"]
    yield from ("", "### The searched plan", "")
    looked = f"{search['measured']} plans measured" + (f", {search['resumed']} remembered" if search["resumed"] else "")
    share = 100 * found["saving"] / found["possible"] if found["possible"] else 0.0
    yield f"{search['reason'].capitalize()}. {looked}; it saves {share:.1f} % of what INT8 everywhere would."
    yield from ("", "What does the most damage alone, everything else in float:", "")
    yield from ("| part | linears | SQNR dB | drop (95 % bound) |", "|---|---|---|---|")
    groups = (*sensitivity["blocks"][:_WORST], *sensitivity["kinds"], *sensitivity["linears"][:_WORST])
    for damage in (sensitivity["together"], *groups):
        drop = "N/A" if damage["drop"] is None else f"{damage['drop']:+.2f} (< {damage['drop_upper']:+.2f})"
        yield f"| {damage['group']} | {damage['linears']} | {damage['sqnr_db']:.1f} | {drop} |"
