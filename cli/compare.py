"""`swin-deploy compare`: two or more runs side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

__all__ = ["command"]


@click.command(name="compare", short_help="Two runs side by side.")
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN_A RUN_B [RUN_C]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page, too.")
def command(runs: tuple[Path, ...], as_json: bool, html: Path | None) -> int:
    """Show what differs between runs, folders that `build` made: their making, accuracy, size, kernels and speed.

    Accuracy is compared image by image where both kept their outputs of the same evaluation images.
    """
    from swin_deploy.comparison.comparison import compare_runs

    comparison = compare_runs(runs)
    if html is not None:
        from swin_deploy.atomic import write_text
        from swin_deploy.report.page.comparison_page import comparison_page

        write_text(html, comparison_page(comparison))
    if as_json:
        click.echo(json.dumps(comparison.to_json(), indent=1))
    else:
        _print(comparison)
    return 0


def _print(comparison: Any) -> None:
    from rich.console import Console

    from swin_deploy.report.drop_interval import unit_of
    from swin_deploy.report.page.comparison_tables import difference_table, ledger_table, pair_table, speed_table

    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=180)
    for run in comparison.runs:
        console.print(f"{run.name}: {run.manifest.verdict}", markup=False, soft_wrap=True)
    usable = [pair for pair in comparison.pairs if pair.images]
    tables = [difference_table(comparison), ledger_table(comparison.runs)]
    tables += [pair_table(usable, unit_of(comparison.runs[0].manifest))] if usable else []
    tables += [speed_table(comparison)]
    for table in tables:
        if table.rows:
            console.print()
            console.print(f"{table.caption}:", style="bold")
            console.print(_rich(table))
    reasons = (f"NOT PAIRED with {pair.second}: {pair.reason}" for pair in comparison.pairs if pair.reason)
    for reason in dict.fromkeys(reasons):
        console.print(reason, markup=False, style="dim", soft_wrap=True)


def _rich(table: Any) -> Any:
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for place, head in enumerate(table.heads):
        shown.add_column(Text(head), justify="right" if place in table.numbers else "left")
    for row in table.rows:
        shown.add_row(*(Text(cell.text) for cell in row))  # not markup: a run may be called [red]
    return shown
