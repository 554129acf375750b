"""How a run's files for CPUs compare with PyTorch eager: the table in docs/benchmark.md.

    python -m benchmarks.cpu_artifacts RUN [--threads 2] [--batch 1] [--rounds 20] [--repeats 3]

RUN is a folder that `swin-deploy build --int8 --profile strong,cpu` left. Each file races the paper form in PyTorch in
a process of its own, by `swin-deploy bench FILE --peers eager`: the threads of several sessions in one process wait for
work at each other's expense. What is shown of the repeats is the median of their speed-ups, which are medians over
interleaved rounds themselves, with the smallest and the largest.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click

from swin_deploy.versions import machine

__all__ = ["FILES", "Race", "race_of", "table"]

FILES = ("fp32.onnx", "fp32.cpu.onnx", "deployment.pt2", "int8.qdq.onnx", "int8.cpu.onnx", "int8.onnx")
"""What a run may have for a CPU; the last one is for TensorRT and shows what it costs there."""


@dataclass(frozen=True)
class Race:
    """One process.

    Attributes:
        eager_ms: Median call of PyTorch eager.
        own_ms: Median call of the file.
        speedup: Median over the rounds of eager's median over the file's own.
    """

    eager_ms: float
    own_ms: float
    speedup: float


def race_of(found: Mapping[str, Any]) -> Race:
    """Read what `swin-deploy bench FILE --peers eager --json` printed.

    Raises:
        ValueError: one of the two did not run.
    """
    lines = found["lines"]
    if len(lines) != 2:
        raise ValueError(f"{len(lines)} of 2 lines: {found['skipped']}")
    own, eager = lines
    return Race(eager["p50_ms"], own["p50_ms"], 1 / eager["ratio"])


def table(races: Mapping[str, list[Race]]) -> str:
    """Markdown, a file a row."""
    lines = ["| file | eager ms | own ms | speed-up (smallest-largest) |", "|---|---|---|---|"]
    for name, found in races.items():
        ratios = [race.speedup for race in found]
        eager, own = median(race.eager_ms for race in found), median(race.own_ms for race in found)
        spread = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        lines.append(f"| `{name}` | {eager:.2f} | {own:.2f} | {spread} |")
    return "\n".join(lines)


@click.command(help=__doc__.split("\n")[0])
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--threads", default=2, show_default=True, help="CPU threads of both.")
@click.option("--batch", default=1, show_default=True, help="Images a call.")
@click.option("--rounds", default=20, show_default=True, help="Turns of each in a process.")
@click.option("--calls", default=10, show_default=True, help="Calls of a turn.")
@click.option("--repeats", default=3, show_default=True, help="Processes a file, all files once before the next.")
def main(run: Path, **options: int) -> None:
    """Race every file that is there."""
    there = [name for name in FILES if (run / name).exists()]
    races: dict[str, list[Race]] = {name: [] for name in there}
    for _ in range(options.pop("repeats")):
        for name in there:
            races[name].append(_raced(run / name, options))
    here = machine()
    click.echo(f"{here['processor']}; {options['threads']} threads, batch {options['batch']}\n")
    click.echo(table(races))
    for name in FILES:
        if name not in there:
            click.echo(f"{name}: not in {run}; build with --int8 --profile strong,cpu")


def _raced(file: Path, options: Mapping[str, int]) -> Race:
    command = [sys.executable, "-m", "swin_deploy", "bench", str(file), "--peers", "eager", "--peer-precision", "fp32"]
    command += ["--no-memory", "--no-roofline", "--json", "--quiet"]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return race_of(json.loads(done.stdout))


if __name__ == "__main__":
    main()
