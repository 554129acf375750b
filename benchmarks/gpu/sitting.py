"""One sitting at a device: cells one after another, each written when it is done, until all are or the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu.environment import code_fingerprint, environment, no_gpu
from benchmarks.gpu.race import Contestant, Lane, compared, enter, raced
from benchmarks.gpu.record import Cell, Results, Row, opened, read, still_to_do
from benchmarks.gpu.timers import Timer
from swin_deploy.atomic import write_text
from swin_deploy.benchmark.ceilings import measured_ceilings
from swin_deploy.device.telemetry.sampler import sampled
from swin_deploy.errors import Unavailable, UsageFault

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Found", "Sitting", "race_of", "result_file"]

Clock = Callable[[], float]
_FIRST_GUESS = 120.0  # seconds of a cell, compilers included, while none was seen


@dataclass(frozen=True)
class Found:
    """What a cell found.

    Attributes:
        rows: In the order of the table.
        notes: See `Cell.notes`.
    """

    rows: Sequence[Row]
    notes: Mapping[str, Any]


@dataclass(frozen=True)
class Sitting:
    """Where results go and how long there is.

    Attributes:
        path: The result file, which is gone on with; its table lies beside it with the suffix `.md`.
        kind: Of the result file.
        table: From results, or from none yet, to the table.
        heard: Is told what is being done, in a few words.
        seconds: No cell is begun that would not end within so long, as far as the slowest so far tells; `None` for
            no limit.
        clock: Seconds, rising.
    """

    path: Path
    kind: str
    table: Callable[[Results | None], str]
    heard: Callable[[str], object]
    seconds: float | None = None
    clock: Clock = time.monotonic

    def measure(self, cells: Mapping[str, Callable[[Results], Found]], *, extra: str = "", gpu: bool = True) -> Results:
        """Measure what is missing of `cells`, the most valuable first.

        Args:
            cells: By name, in their order; each is told what was measured so far.
            extra: What is measured beyond the usual rows.
            gpu: Whether this is a GPU, whose ceilings are measured first.

        Raises:
            Unavailable: a GPU is wanted and there is none.
            UsageFault: the file is of another device or other versions.
            BadInput: it is no such file.
        """
        self.check(gpu=gpu)
        started, slowest = self.clock(), 0.0
        results, code = opened(self.path, self.kind, environment()), code_fingerprint() + extra
        if gpu and results.ceilings is None:
            self.heard("measuring the ceilings")
            results = replace(results, ceilings=_ceilings(results.environment["gpu"]))
        waiting = still_to_do(results, cells, code)
        for place, name in enumerate(waiting):
            left = None if self.seconds is None else self.seconds - (self.clock() - started)
            if place and left is not None and left < (slowest or _FIRST_GUESS):
                self.heard(f"time is up; still to do: {', '.join(waiting[place:])}")
                break
            self.heard(f"measuring {name}")
            began = self.clock()
            found = cells[name](results)
            took = self.clock() - began
            slowest = max(slowest, took)
            results = results.with_cell(name, Cell(code, round(took, 1), tuple(found.rows), dict(found.notes)))
            self._write(results)
            self.heard(f"{name}: {took:.0f} s")
        self._write(results)
        return results

    def check(self, *, gpu: bool) -> None:
        """Refuse a machine that has not what is to be measured, before anything long begins.

        Raises:
            Unavailable: a GPU is wanted and there is none.
        """
        missing = no_gpu() if gpu else None
        if missing is not None:
            raise Unavailable(missing, needed="a GPU to measure", do="--tiny rehearses on a CPU")

    def write_table(self) -> str:
        """The table of what was measured so far, written again.

        Raises:
            BadInput: the file is none of results.
        """
        text = self.table(read(self.path, self.kind) if self.path.is_file() else None)
        write_text(self.path.with_suffix(".md"), text)
        return text

    def _write(self, results: Results) -> None:
        results.write(self.path)
        self.write_table()


def result_file(out: Path | None, name: str, *, tiny: bool) -> Path:
    """Where results go: `out`, or the place of `name` in the documentation.

    Raises:
        UsageFault: a rehearsal would stand there, where a GPU's figures belong.
    """
    if out is None and tiny:
        raise UsageFault("--tiny without --out", needed="a file of its own for a rehearsal", do="Name one with --out")
    return out or Path("docs/results", f"{name}.json")


def race_of(
    contestants: Sequence[Contestant | Lane | Row],
    images: Tensor,
    oracle: Callable[[Tensor], Tensor],
    timer: Timer,
    against: str,
    rounds: int,
) -> Found:
    """Open those that are not, compare all with FP32, and time them in turns; a row each, whether it ran or not."""
    entered = [enter(entry, images, timer) if isinstance(entry, Contestant) else entry for entry in contestants]
    lanes = compared([entry for entry in entered if isinstance(entry, Lane)], images, oracle, timer)
    with sampled(0.5) as sampler:
        rows = {row.name: row for row in (raced(lanes, timer, against=against, rounds=rounds) if lanes else [])}
    seen = sampler.telemetry()
    notes = {"clocks_mhz": seen.facts()["clocks_mhz"], "throttled": list(seen.throttled)}
    return Found([entry if isinstance(entry, Row) else rows[entry.row.name] for entry in entered], notes)


def _ceilings(gpu: str) -> dict[str, Any]:
    return measured_ceilings("cuda", gpu, ("fp16", "bf16", "int8", "fp8"), 1).facts()
