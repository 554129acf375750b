"""What each technique brings, one a row: the same network from timm's eager model to our fastest form.

    python -m benchmarks.waterfall [--model swin_t] [--batch 128] [--seconds 540] [--out FILE]
    python -m benchmarks.waterfall --tiny --out FILE     # on a CPU: proves that it runs, and measures nothing

Each row adds one technique to the row before it and takes turns with that row, so that its step holds whatever the
clocks did. Rows up to the CUDA graph are called as they are, the time as a CUDA graph beside it; what a row has not
fused yet is left to torch.compile. Errors are told against the FP32 paper form through the very call that is timed.
A row is expected to take half a minute to two, most of it compilers (none was measured yet), and is written when it is
done: call again to go on.

Needs what benchmarks/gpu_swin.py needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from benchmarks.gpu.environment import code_fingerprint
from benchmarks.gpu.figures import conditions, number, percent, quotient, speed_up, times
from benchmarks.gpu.forms import Forms, gpu_stand, rehearsal_stand
from benchmarks.gpu.race import Contestant, Lane, as_graph, enter, said
from benchmarks.gpu.record import Results, Row
from benchmarks.gpu.sitting import Found, Sitting, race_of, result_file
from benchmarks.gpu.subject import subject
from benchmarks.gpu.timers import Timer
from benchmarks.gpu.tune import tuned
from swin_deploy.errors import ExplainedError
from swin_deploy.model.fusion_plan import FusionPlan

__all__ = ["KIND", "STEPS", "Bench", "Step", "before", "table"]

KIND = "waterfall"
_COMMAND = "python -m benchmarks.waterfall"
_TINY = ("small_v1", 2)
_HEADER = (
    "| # | technique | precision | ms | p10-p90 | as a CUDA graph ms | times the row before | times torch.compile | "
    "error to FP32 | times torch half's | top-1 as FP32 % |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True)
class Step:
    """One row.

    Attributes:
        name: What it adds.
        fused: The fields of its fusion plan; `None` where it is none of our fused form.
        tuned: Whether its tiles and fusions are chosen by measurement.
        graph: Whether it is started as a CUDA graph.
    """

    name: str
    fused: Mapping[str, Any] | None = None
    tuned: bool = False
    graph: bool = False


_ATTENTION: Mapping[str, Any] = {"attention": True}
_NORMS = {**_ATTENTION, "norms": True}
_EPILOGUES = {**_NORMS, "epilogues": True}
_MLP = {**_EPILOGUES, "mlp_channels": 192}
_ENDS = {**_MLP, "patch_embed": True, "head": True}
EAGER, COMPILED, FOLDED = "timm eager", "timm torch.compile", "folded, torch.compile"
STEPS = (
    Step(EAGER),
    Step(COMPILED),
    Step(FOLDED),
    Step("+ window attention in one kernel", _ATTENTION),
    Step("+ norms in the product behind them", _NORMS),
    Step("+ bias, GELU, residual in the product before them", _EPILOGUES),
    Step("+ whole MLP of the narrow stages in one kernel", _MLP),
    Step("+ patch embedding and head in kernels", _ENDS),
    Step("+ tiles and fusions chosen by measurement", _ENDS, tuned=True),
    Step("+ one CUDA graph", _ENDS, tuned=True, graph=True),
    Step("INT8 linears", {**_ENDS, "linears": "int8"}, tuned=True, graph=True),
    Step("FP8 linears", {**_ENDS, "linears": "fp8"}, tuned=True, graph=True),
)
"""The rows; each of the last two adds to that of the CUDA graph."""
_GRAPH = next(place for place, step in enumerate(STEPS) if step.graph)


@dataclass
class Bench:
    """The network, and the row that was opened last, so that the next one need not open it again.

    Attributes:
        forms: Of the network.
        images: Of the batch.
        rounds: Turns of each row.
        skip: Names of rows to leave out.
        open: Rows that are open, by name.
    """

    forms: Forms
    images: Tensor
    rounds: int
    skip: tuple[str, ...] = ()
    open: dict[str, Lane] = field(default_factory=dict)

    def measured(self, step: Step, before: Step | None, results: Results) -> Found:
        """Measure one row in turns with the one before it.

        Args:
            step: The row.
            before: The row that it adds to.
            results: What was measured so far.
        """
        notes: dict[str, Any] = {}
        own = enter(self._contestant(step, results, notes), self.images, self._timer)
        entries: list[Contestant | Lane | Row] = [own]
        if isinstance(own, Lane) and not step.graph:
            entries.append(as_graph(own, f"{step.name}, graph", self._timer))
        if before is not None:
            entries.append(self.open.get(before.name) or self._contestant(before, results, {}))
        against = step.name if before is None else before.name
        found = race_of(entries, self.images, self.forms.oracle(), self._timer, against, self.rounds)
        self.open = {step.name: own} if isinstance(own, Lane) else {}
        row = found.rows[0]
        if isinstance(own, Lane) and not step.graph:
            row = replace(row, graph_ms=found.rows[1].ms)
        if before is None:
            row = replace(row, ratio=None, ratio_low=None, ratio_high=None)
        return Found([row], {**found.notes, **notes})

    @property
    def _timer(self) -> Timer:
        return self.forms.stand.timer

    def _contestant(self, step: Step, results: Results, notes: dict[str, Any]) -> Contestant:
        forms = self.forms
        if step.name in self.skip:
            return replace(forms.timm(step.name, graph=False), missing="left out")
        if step.fused is None:
            if step.name == FOLDED:
                return forms.folded(step.name, graph=False)
            return forms.timm(step.name, compiled=step.name == COMPILED, graph=False)
        plan: FusionPlan = replace(FusionPlan.nothing(), **step.fused)
        # As a CUDA graph it does not matter who starts the kernels, and by now nothing is left to a compiler.
        form = partial(forms.fused, step.name, compiled=not step.graph, graph=step.graph)
        if not step.tuned:
            return form(plan)
        known = _tuned_before(plan, results, code_fingerprint())
        if known is None:
            try:
                known, notes["tuning"] = tuned(forms, plan, self.images)
            except Exception as error:  # as when a contestant is entered
                return replace(form(plan), missing=said(error))
        return form(known)


def _tuned_before(plan: FusionPlan, results: Results, code: str) -> FusionPlan | None:
    """What was chosen for `plan` in a row before, by the same code: kernels that changed since are tuned anew."""
    for cell in results.cells.values():
        if cell.code == code and "tuning" in cell.notes:
            found = FusionPlan.from_json(cell.notes["tuning"]["plan"])
            if found.linears == plan.linears:
                return found
    return None


def table(results: Results | None) -> str:
    """The Markdown table of all rows, those that were not measured too."""
    cells = {} if results is None else results.cells
    rows = [cells[step.name].rows[0] if step.name in cells else Row(step.name, _precision(step)) for step in STEPS]
    network = "" if results is None else f": {results.kind.removeprefix(KIND).strip()}"  # model and batch
    lines = [f"# What each technique brings{network}", "", *conditions(results, _COMMAND), *_HEADER]
    lines += [_line(place, row, rows) for place, row in enumerate(rows)]
    return "\n".join(lines) + "\n"


def _precision(step: Step) -> str:
    linears = (step.fused or {}).get("linears", "half")
    return "fp16" if linears == "half" else str(linears)


def _line(place: int, row: Row, rows: Sequence[Row]) -> str:
    half, compiled = rows[0], rows[1]
    values = (
        *(str(place + 1), row.name, row.precision),
        *(*times(row), number(row.graph_ms), speed_up(row), quotient(compiled.ms, row.ms)),
        *(number(row.relative_error, ".2e"), quotient(row.relative_error, half.relative_error)),
        percent(row.agreement, 1.0),
    )
    return f"| {' | '.join(values)} |"


@click.command(help=__doc__.split("\n")[0])
@click.option("--model", default="swin_t", show_default=True)
@click.option("--batch", default=128, show_default=True)
@click.option("--seconds", type=float, help="Begin no row that would not end within so long.")
@click.option("--rounds", default=15, show_default=True, help="Turns of each row.")
@click.option("--skip", multiple=True, help="Leave out the row of this name; may be repeated.")
@click.option("--tiny", is_flag=True, help="Rehearse on the CPU with a network of no use; needs --out.")
@click.option("--table-only", is_flag=True, help="Write the table of what was measured so far, and measure nothing.")
@click.option("--out", type=click.Path(path_type=Path), show_default="docs/results/waterfall.json")
def main(
    model: str,
    batch: int,
    seconds: float | None,
    rounds: int,
    skip: tuple[str, ...],
    tiny: bool,
    table_only: bool,
    out: Path | None,
) -> None:
    """Measure what is missing, and write the file and its table."""
    if tiny:
        model, batch = _TINY
    try:
        path = result_file(out, "waterfall", tiny=tiny)
        sitting = Sitting(path, f"{KIND} {model}/{batch}", table, partial(click.echo, err=True), seconds)
        if table_only:
            click.echo(sitting.write_table())
            return
        sitting.check(gpu=not tiny)
        bench = replace(_bench(model, batch, rounds, tiny=tiny), skip=skip)
        cells = {step.name: partial(bench.measured, step, before(step)) for step in STEPS}
        click.echo(table(sitting.measure(cells, gpu=not tiny)))
    except ExplainedError as error:
        raise click.ClickException(str(error)) from error


def before(step: Step) -> Step | None:
    """The row that a row adds to: the last two both to the CUDA graph."""
    place = STEPS.index(step)
    return STEPS[min(place - 1, _GRAPH)] if place else None


def _bench(model: str, batch: int, rounds: int, *, tiny: bool) -> Bench:
    stand = (rehearsal_stand if tiny else gpu_stand)(torch.float16)
    forms = Forms(subject(model), stand)
    return Bench(forms, forms.images(batch), rounds)


if __name__ == "__main__":
    main()
