"""`swin-deploy doctor`: what this machine, and a checkpoint, are ready for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cli.checkpoint_options import checkpoint_options
from cli.option_types import BATCHES, SIZE

__all__ = ["command"]

_STYLES = {"OK": "green", "WARN": "yellow", "FAIL": "bold red"}


@click.command(name="doctor", short_help="What this machine, and a checkpoint, are ready for.")
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option(
    "--data", type=click.Path(path_type=str), help="Images for the range of activations; without: made-up ones."
)
@click.option("--images", type=click.IntRange(1), default=4, show_default=True, help="How many of them.")
@click.option("--batch", type=BATCHES, default="1,8,32", show_default=True, help="Batches that you will deploy.")
@click.option("--image-size", type=SIZE, help="N or HxW, where nothing beside the checkpoint tells, or to override.")
@checkpoint_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    checkpoint: Path | None,
    data: str | None,
    images: int,
    batch: tuple[int, int, int],
    as_json: bool,
    **options: Any,
) -> int:
    """Look at this machine, and at CHECKPOINT if one is given, and say what is OK, what to mind and what will fail.

    Ends with 0 without a FAIL, with 3 if one is about the machine, else with 5.
    """
    from swin_deploy.doctor.examination import Request, examine
    from swin_deploy.doctor.machine import look_at
    from swin_deploy.errors import UsageFault

    if checkpoint is None and (data is not None or any(value is not None for value in options.values())):
        raise UsageFault("an option of a checkpoint without a checkpoint", needed="swin-deploy doctor CHECKPOINT ...")
    found = examine(look_at(), Request(checkpoint, options, data, images, batch))
    if as_json:
        click.echo(json.dumps(found.facts(), indent=1))
        return found.status
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for line in found.lines:
        verdict = line.verdict.value
        said = " ".join(f"{part.rstrip('.')}." for part in (line.seen, line.do) if part)
        table.add_row(f"[{_STYLES[verdict]}]{verdict}[/]", line.check, escape(said))
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=150)
    console.print(table)
    return found.status
