"""The part of the report that says what each accuracy tool did, counted over the linears."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["tools_section"]

_RESULTS = ("kept", "no gain", "n/a")


def tools_section(solutions: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Markdown lines from the stage's `solutions`; nothing where no tool was used.

    Args:
        solutions: Linear to what was done to it; each trial is `calib.tools.problem.Trial.to_json`.
    """
    trials = [trial for solution in solutions.values() for trial in solution["trials"] if trial["tool"] != "step"]
    if not trials:
        return
    yield from (
        "",
        "### What the tools did",
        "",
        "| tool | kept | no gain | n/a, why | mean gain dB |",
        "|---|---|---|---|---|",
    )
    for tool in dict.fromkeys(trial["tool"] for trial in trials):
        own = [trial for trial in trials if trial["tool"] == tool]
        counts = Counter(trial["result"] for trial in own)
        why = ", ".join(dict.fromkeys(trial["detail"] for trial in own if trial["result"] == "n/a"))
        gains = [trial["after_db"] - trial["before_db"] for trial in own if trial["result"] == "kept"]
        mean = f"{sum(gains) / len(gains):+.1f}" if gains else "N/A"
        kept, none, inapplicable = (counts[result] for result in _RESULTS)
        yield f"| {tool} | {kept} | {none} | {inapplicable}{f': {why}' if why else ''} | {mean} |"
    yield ""
    yield "Gains are of the SQNR at each linear's own output on calibration data; `manifest.json` has every linear."
