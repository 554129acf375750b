"""`swin-deploy bench`: time artifacts side by side in one run."""

from __future__ import annotations

import json
from pathlib import Path

import click

__all__ = ["command"]


@click.command(name="bench", short_help="Time artifacts side by side in one run.")
@click.argument("artifacts", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--batch", type=click.IntRange(1), multiple=True, help="Batch size; may be repeated.  [default: 1]")
@click.option("--rounds", type=click.IntRange(3), default=20, show_default=True, help="Interleaved rounds.")
@click.option("--warmup", type=click.IntRange(1), default=3, show_default=True, help="Calls of each before timing.")
@click.option("--threads", type=click.IntRange(1), help="PyTorch's threads on a CPU.  [default: all cores]")
@click.option("--record", is_flag=True, help="Write the times into the run, and renew what it recommends.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    artifacts: tuple[Path, ...],
    batch: tuple[int, ...],
    rounds: int,
    warmup: int,
    threads: int | None,
    record: bool,
    as_json: bool,
) -> int:
    """Time each of ARTIFACTS, files that `build` left in a run's folder, in turn, round after round.

    Machines drift: compare the ratios to the first artifact, which are taken within a round. Times are whole calls as a
    caller sees them: images in host memory to outputs in host memory.
    """
    from rich.console import Console
    from rich.table import Table

    from swin_deploy.benchmark import bench

    results = bench(artifacts, batches=batch or (1,), rounds=rounds, warmup=warmup, threads=threads)
    recommended = ""
    if record:
        from swin_deploy.report.record_speed import record_speed

        recommended = record_speed(artifacts, results).recommendation
    if as_json:
        click.echo(json.dumps(results.to_json(), indent=1))
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in (
        "artifact",
        "backend",
        "batch",
        "p50 ms",
        "p90 ms",
        "p95 ms",
        "p99 ms",
        "CV %",
        "images/s",
        "speed-up",
    ):
        table.add_column(title, justify="left" if title in ("artifact", "backend") else "right")
    for line in results.lines:
        table.add_row(
            line.artifact,
            line.backend,
            str(line.batch),
            *(f"{value:.2f}" for value in (line.p50_ms, line.p90_ms, line.p95_ms, line.p99_ms)),
            f"{100 * line.variation:.1f}",
            f"{line.images_per_second:.0f}",
            f"{line.ratio:.2f} ({line.ratio_low:.2f}-{line.ratio_high:.2f})",
        )
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=150)
    console.print(table)
    console.print(f"{results.describe()}", markup=False, style="dim", soft_wrap=True)
    if recommended:
        console.print(recommended, markup=False, soft_wrap=True)
    return 0
