"""How fast a Swin runs on this GPU: ours beside timm's model, eager and by torch.compile, and TensorRT where it is.

    python -m benchmarks.gpu_swin [--models swin_t,...] [--batches 128,...] [--seconds 540] [--tune half] [--out FILE]
    python -m benchmarks.gpu_swin --tiny --out FILE     # on a CPU: proves that it runs, and measures nothing

A cell is one model at one batch: its contestants take turns, so that their ratios hold whatever the clocks did. Times
are of the network on the GPU, images there already, between CUDA events; all but timm's eager model are started as one
CUDA graph. Errors are told against the FP32 paper form on images that were not timed, through the very call that was.
A cell is expected to take a minute to three, most of it compilers (none was measured yet), and is written when it is
done: call again to go on. The floor is that of benchmarks/gpu/kernel_work.py with the rates measured on this GPU.

Needs PyTorch with its Triton, timm, NumPy, Pillow, click and this repository on PYTHONPATH; no network. The row of
TensorRT needs TensorRT, ONNX and safetensors as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from benchmarks.gpu.figures import conditions, number, percent, quotient, speed_up, times
from benchmarks.gpu.forms import Forms, gpu_stand, rehearsal_stand
from benchmarks.gpu.kernel_work import fused_kernels
from benchmarks.gpu.race import Contestant, said
from benchmarks.gpu.record import Cell, Results, Row
from benchmarks.gpu.sitting import Found, Sitting, race_of, result_file
from benchmarks.gpu.subject import entry_of, subject
from benchmarks.gpu.tune import tuned
from swin_deploy.benchmark.roofline import Ceilings, roofline_ms
from swin_deploy.errors import ExplainedError
from swin_deploy.model.fusion_plan import FusionPlan, Linears

__all__ = ["CELLS", "KIND", "measured", "table"]

CELLS = (
    *("swin_t/128", "swin_t/1", "swin_t/32", "swinv2_t/128", "swin_b/128"),
    *("swinv2_t/32", "swinv2_t/1", "swin_b/32", "swin_b/1"),
)
"""Model and batch of each cell, those first that say most."""
KIND = "gpu-swin"
EAGER, COMPILED, BEST = "timm eager", "timm torch.compile", "timm torch.compile, max-autotune"
OURS, TUNED, ENGINE = "ours", "ours, tuned", "TensorRT, timm's graph"
_QUANTIZED: Mapping[Linears, str] = {"half": "", "int8": ", INT8 linears", "fp8": ", FP8 linears"}
_TINY = ("small_v1/2", "small_v2/1")
# What is aimed at, by `ours` tuned or not: times as fast as torch.compile, and hundredths of the floor.
_FASTER = {"swin_t/1": 1.9, "swin_t/32": 2.2, "swin_t/128": 2.2, **{f"swinv2_t/{batch}": 2.5 for batch in (1, 32, 128)}}
_OF_FLOOR = {"swin_b/128": 60}
_HEADER = (
    "| model | batch | what | precision | ms | p10-p90 | times torch.compile | floor ms | of floor % | "
    "error to FP32 | times torch half's | top-1 as FP32 % | aim |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
)


def measured(
    name: str, results: Results, *, tiny: bool, tune: Sequence[str], best: bool, rounds: int, skip: Sequence[str] = ()
) -> Found:
    """Measure one cell.

    Args:
        name: Model and batch.
        results: What was measured so far.
        tiny: Rehearse on the CPU.
        tune: The types of linears whose tiles and fusions are also chosen by measurement.
        best: Also against torch.compile at its slowest to compile.
        rounds: Turns of each contestant.
        skip: Names of rows to leave out.
    """
    del results
    torch._dynamo.reset()  # it counts how often one piece of code is compiled, whatever the weights
    model, batch = name.split("/")
    forms = Forms(subject(model), (rehearsal_stand if tiny else gpu_stand)(torch.float16))
    images = forms.images(int(batch))
    notes: dict[str, Any] = {}
    contestants = [forms.timm(EAGER, graph=False), forms.timm(COMPILED, compiled=True)]
    if best:
        contestants.append(forms.timm(BEST, compiled=True, mode="max-autotune-no-cudagraphs"))
    for kind, words in _QUANTIZED.items():
        plan = replace(FusionPlan(), linears=kind)
        contestants.append(forms.fused(OURS + words, plan))
        if kind in tune and TUNED + words not in skip:
            contestant, notes[f"tuning{words}"] = _tuned(forms, TUNED + words, plan, images)
            contestants.append(contestant)
    contestants.append(forms.tensorrt(ENGINE))
    contestants = [replace(entry, missing="left out") if entry.name in skip else entry for entry in contestants]
    found = race_of(contestants, images, forms.oracle(), forms.stand.timer, COMPILED, rounds)
    return Found(found.rows, {**found.notes, **notes})


def _tuned(forms: Forms, name: str, plan: FusionPlan, images: Tensor) -> tuple[Contestant, Any]:
    contestant = forms.fused(name, plan)
    try:
        chosen, trials = tuned(forms, plan, images)
    except Exception as error:  # as when a contestant is entered
        return replace(contestant, missing=said(error)), None
    return forms.fused(name, chosen), trials


def table(results: Results | None) -> str:
    """The Markdown table of all cells, those that were not measured too."""
    cells = {} if results is None else results.cells
    ceilings = None if results is None or results.ceilings is None else Ceilings(**results.ceilings)
    lines = ["# Swin on a GPU", "", *conditions(results, "python -m benchmarks.gpu_swin"), *_HEADER]
    for name in dict.fromkeys((*CELLS, *cells)):
        cell = cells.get(name)
        lines += [_line(name, row, cell, ceilings) for row in ((Row(OURS, "fp16"),) if cell is None else cell.rows)]
    return "\n".join(lines) + "\n"


def _line(name: str, row: Row, cell: Cell | None, ceilings: Ceilings | None) -> str:
    model, batch = name.split("/")
    half = None if cell is None else cell.row(EAGER)
    floor = None if ceilings is None else _floor_ms(model, int(batch), row.precision, ceilings)
    values = (
        *(model, batch, row.name, row.precision),
        *(*times(row), speed_up(row), number(floor), percent(floor, row.ms)),
        number(row.relative_error, ".2e"),
        quotient(row.relative_error, None if half is None else half.relative_error),
        percent(row.agreement, 1.0),
        _aim(name, row),
    )
    return f"| {' | '.join(values)} |"


def _floor_ms(model: str, batch: int, precision: str, ceilings: Ceilings) -> float | None:
    linears = precision if precision in ("int8", "fp8") else None
    return roofline_ms(fused_kernels(entry_of(model).spec, batch, "fp16", linears), ceilings)


def _aim(name: str, row: Row) -> str:
    if row.precision != "fp16" or row.name not in (OURS, TUNED):
        return ""
    if name in _FASTER:
        return f"{_FASTER[name]} times torch.compile"
    return f"{_OF_FLOOR[name]} % of the floor" if name in _OF_FLOOR else ""


@click.command(help=__doc__.split("\n")[0])
@click.option("--models", default="", help="Only these, separated by commas.")
@click.option("--batches", default="", help="Only these, separated by commas.")
@click.option("--seconds", type=float, help="Begin no cell that would not end within so long.")
@click.option("--rounds", default=15, show_default=True, help="Turns of each contestant.")
@click.option(
    "--tune",
    multiple=True,
    type=click.Choice(list(_QUANTIZED)),
    help="Also with tiles and fusions chosen by measurement, for linears of this type; takes longer.",
)
@click.option("--max-autotune", is_flag=True, help="Also against torch.compile's own search, some minutes a cell.")
@click.option("--skip", multiple=True, help="Leave out the row of this name; may be repeated.")
@click.option("--tiny", is_flag=True, help="Rehearse on the CPU with networks of no use; needs --out.")
@click.option("--table-only", is_flag=True, help="Write the table of what was measured so far, and measure nothing.")
@click.option("--out", type=click.Path(path_type=Path), show_default="docs/results/gpu_swin.json")
def main(
    models: str,
    batches: str,
    seconds: float | None,
    rounds: int,
    tune: tuple[str, ...],
    max_autotune: bool,
    skip: tuple[str, ...],
    tiny: bool,
    table_only: bool,
    out: Path | None,
) -> None:
    """Measure what is missing, and write the file and its table."""
    wanted = [
        name
        for name in (_TINY if tiny else CELLS)
        if (not models or name.split("/")[0] in models.split(","))
        and (not batches or name.split("/")[1] in batches.split(","))
    ]
    flags: dict[str, Any] = {"tiny": tiny, "tune": tune, "best": max_autotune, "rounds": rounds}
    cells = {name: partial(measured, name, skip=skip, **flags) for name in wanted}
    extra = "".join(f"+{kind}" for kind in _QUANTIZED if kind in tune) + ("+max-autotune" if max_autotune else "")
    try:
        path = result_file(out, "gpu_swin", tiny=tiny)
        sitting = Sitting(path, KIND, table, partial(click.echo, err=True), seconds)
        if table_only:
            click.echo(sitting.write_table())
            return
        click.echo(table(sitting.measure(cells, extra=extra, gpu=not tiny)))
    except ExplainedError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
