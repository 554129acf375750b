"""How the tables write what was measured, and what was not."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.gpu.record import Results, Row

__all__ = ["NOT_MEASURED", "conditions", "number", "percent", "quotient", "speed_up", "times"]

NOT_MEASURED = "not measured"
_DASH = ""


def number(value: float | None, form: str = ".3g") -> str:
    """A figure, or nothing."""
    return _DASH if value is None else format(value, form)


def quotient(value: float | None, by: float | None) -> str:
    """One figure over another, where both are known."""
    return _DASH if value is None or not by else f"{value / by:.2f}"


def percent(value: float | None, of: float | None) -> str:
    """One figure in hundredths of another, where both are known."""
    return _DASH if value is None or not of else f"{100 * value / of:.0f}"


def times(row: Row) -> tuple[str, str]:
    """The median and the spread of a row, or why there are none."""
    if row.missing is not None:
        return f"{NOT_MEASURED}: {row.missing.split('. ')[0].replace('|', '/')}", _DASH
    if row.ms is None:
        return NOT_MEASURED, _DASH
    assert row.p10_ms is not None and row.p90_ms is not None
    return f"{row.ms:.3f}{'' if row.steady else ' (unsteady)'}", f"{row.p10_ms:.3f}-{row.p90_ms:.3f}"


def speed_up(row: Row) -> str:
    """How many times as fast, with its quartiles."""
    if row.ratio is None:
        return _DASH
    return f"{row.ratio:.2f} ({row.ratio_low:.2f}-{row.ratio_high:.2f})"


def conditions(results: Results | None, command: str) -> Iterator[str]:
    """What a table was measured on, or that it was not."""
    yield f"Made by `{command}`."
    yield ""
    if results is None:
        yield "**Nothing was measured yet**: no GPU was at hand."
        yield ""
        return
    facts = results.environment
    yield "; ".join(f"{name} {facts[name].split('. ')[0]}" for name in facts if facts[name] != "not installed") + "."
    yield ""
    if results.ceilings is None:
        yield "**A rehearsal on a CPU**: it proves that the script runs, and measures nothing of a GPU."
    else:
        rates = ", ".join(f"{key} {rate / 1e12:.0f}e12" for key, rate in results.ceilings["rates"].items())
        yield f"Measured ceilings: {results.ceilings['bandwidth'] / 1e9:.0f} GB/s; operations a second: {rates}."
    yield ""
    throttled = {name: cell.notes["throttled"] for name, cell in results.cells.items() if cell.notes.get("throttled")}
    for name, sentences in throttled.items():
        yield f"WARNING: {name}: {' '.join(sentences)}"
        yield ""
    if len({cell.code for cell in results.cells.values()}) > 1:
        yield "WARNING: these cells were measured in different states of the code; call the script again."
        yield ""
