"""`swin-deploy audit`: what an engine truly runs, from a run or from a saved log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from swin_deploy.engine_audit import AuditedEngine

__all__ = ["command"]

_STYLES = {"PASS": "green", "FAIL": "bold red", "INFO": ""}


@click.command(name="audit", short_help="Show what an engine truly runs, and whether it is what was asked for.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16", "int8", "fp8"]),
    help="What was asked for; a run knows it, a saved log does not.",
)
@click.option("--attentions", type=click.IntRange(0), help="How many attentions the graph has, for a saved log.")
@click.option("--linears", type=click.IntRange(0), help="How many linears were to be in that precision, likewise.")
@click.option(
    "--by-flags",
    is_flag=True,
    help="Builder flags permitted the precision (TensorRT 8): a tenth of the products may have another one.",
)
@click.option("--require", type=click.Choice(["fused"]), help="Status 4 unless every attention is seen to be fused.")
@click.option("--layers", is_flag=True, help="List every kernel: block, kind, types, and what it fuses.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    path: Path,
    precision: str | None,
    attentions: int | None,
    linears: int | None,
    by_flags: bool,
    require: str | None,
    layers: bool,
    as_json: bool,
) -> int:
    """Show what the engines of PATH run, and judge it.

    PATH is a run's folder, an engine in one, a builder's verbose log (of `trtexec --verbose
    --profilingVerbosity=detailed`, say), or the JSON of `trtexec --exportLayerInfo`. Status 4: not what was asked for.
    """
    from swin_deploy.artifact import Precision
    from swin_deploy.engine_audit import Wish, audit_path

    wish = Wish(Precision(precision) if precision else None, attentions, linears, strongly_typed=not by_flags)
    engines = audit_path(path, wish)
    failed = any(engine.verdict == "FAIL" for engine in engines)
    if require == "fused":
        failed = failed or not all(_fused(engine) for engine in engines)
    status = 4 if failed else 0
    if as_json:
        click.echo(json.dumps(_json(engines, status, layers), indent=1))
    else:
        for engine in engines:
            _print(engine, layers)
        if require == "fused" and not all(_fused(engine) for engine in engines):
            click.echo("FAIL fused: --require fused, and not every attention was seen to be one kernel")
    return status


def _fused(engine: AuditedEngine) -> bool:
    return any(check.check == "attention" and check.verdict == "PASS" for check in engine.checks)


def _json(engines: tuple[AuditedEngine, ...], status: int, layers: bool) -> dict[str, object]:
    from swin_deploy.kernel_table import kernel_lines

    listed = []
    for engine in engines:
        entry = engine.to_json()
        if layers:
            entry["layers"] = [line.detail for line in kernel_lines(engine.kernels)]
        listed.append(entry)
    return {"schema_version": 1, "engines": listed, "status": status}


def _print(engine: AuditedEngine, layers: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from swin_deploy.kernel_table import kernel_lines

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=150)
    asked = engine.wish.precision
    targets = f", compute capability {', '.join(engine.targets)}" if engine.targets else ""
    title = f"{engine.name} ({engine.file.name}{targets}), asked for: {asked.value if asked else 'not told'}"
    console.print(title, markup=False, style="bold", soft_wrap=True)
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, figure in _figures(engine):
        table.add_row(name, figure)
    console.print(table)
    for check in engine.checks:
        style = _STYLES[check.verdict] or "default"
        console.print(f"[{style}]{check.verdict}[/] {check.check}: ", end="")
        console.print(check.detail, markup=False, soft_wrap=True)
    if layers:
        if not engine.kernels:
            console.print("no layers are listed: the run kept none", markup=False)
        for line in _aligned(
            [
                (entry.block, entry.kind, entry.types, entry.kernel, entry.fuses)
                for entry in kernel_lines(engine.kernels)
            ]
        ):
            console.print(line, markup=False, soft_wrap=True)


def _figures(engine: AuditedEngine) -> tuple[tuple[str, str], ...]:
    census = engine.census
    least = "at least " if census.opaque else ""
    moving = census.reformats + census.casts
    share = f" ({100 * moving / census.kernels:.0f} % of the kernels)" if census.kernels else ""
    products = [f"{count} {kind}" for kind, count in census.gemms_by_type.items() if count]
    convolutions = [f"{count} {kind}" for kind, count in census.convolutions_by_type.items() if count]
    attentions = engine.wish.attentions
    return (
        ("kernels", f"{least}{census.kernels}"),
        ("matrix products", f"{least}{census.gemms}: {', '.join(products) or 'none'}"),
        ("convolutions", ", ".join(convolutions) or "none"),
        ("attentions fused", f"{census.fused_attentions}" + ("" if attentions is None else f" of {attentions}")),
        ("reformats, casts", f"{census.reformats}, {census.casts}{share}"),
        ("shape operations", f"{census.shapes}, on the host"),
        *((("layers that hide kernels", str(census.opaque)),) if census.opaque else ()),
    )


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns side by side, numbered; the last one as long as it is."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        f"{number:>4}  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True))
        + f"  {row[3]}  [{row[4]}]"
        for number, row in enumerate(rows, 1)
    ]
