"""`swin-deploy bench`: time artifacts and peers side by side in one run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.option_types import Words

if TYPE_CHECKING:
    from swin_deploy.benchmark.result import Benchmark
    from swin_deploy.device.benchmark_line import Line

__all__ = ["command"]

_BATCHES = Words("n,...", r"[1-9][0-9]*", "1,8,32")
_PEERS = Words("name,...", r"[a-z.-]+", "eager,torch.compile,onnxruntime,naive-tensorrt")
_PRECISIONS = Words("precision,...", r"[a-z0-9]+", "fp32,fp16")
_UNAVAILABLE = 3


@click.command(name="bench", short_help="Time artifacts side by side in one run.")
@click.argument("artifacts", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--batch", type=_BATCHES, multiple=True, help="Batch sizes; may be repeated.  [default: 1]")
@click.option("--peers", type=_PEERS, default=(), help="Also eager, torch.compile, onnxruntime, naive-tensorrt.")
@click.option("--peer-precision", type=_PRECISIONS, default=(), help="fp32, fp16, bf16.  [default: the artifacts']")
@click.option("--rounds", type=click.IntRange(3), default=20, show_default=True, help="Interleaved rounds.")
@click.option("--calls", type=click.IntRange(1), default=5, show_default=True, help="Calls of a turn.")
@click.option("--warmup", type=click.IntRange(1), default=5, show_default=True, help="Calls in a warm-up window.")
@click.option(
    "--warmup-seconds", type=float, default=5.0, show_default=True, help="Wait so long for a steady state, at most."
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: all cores]")
@click.option(
    "--cuda-graph", type=click.Choice(("off", "on", "both")), default="both", show_default=True, help="For engines."
)
@click.option("--memory/--no-memory", default=True, show_default=True, help="Peak memory, each in its own process.")
@click.option("--roofline/--no-roofline", default=True, show_default=True, help="Share of the device's roofline.")
@click.option("--require", is_flag=True, help="End with status 3 if anything could not be timed here.")
@click.option("--record", is_flag=True, help="Write the times into the run, and renew what it recommends.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Also write the JSON there.")
@click.option(
    "--export-times",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write every call, as trtexec does; several lines go to files that are named after it.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    artifacts: tuple[Path, ...],
    batch: tuple[tuple[str, ...], ...],
    peers: tuple[str, ...],
    peer_precision: tuple[str, ...],
    rounds: int,
    calls: int,
    warmup: int,
    warmup_seconds: float,
    threads: int | None,
    cuda_graph: str,
    memory: bool,
    roofline: bool,
    require: bool,
    record: bool,
    as_json: bool,
    out: Path | None,
    export_times: Path | None,
    quiet: bool,
) -> int:
    """Time each of ARTIFACTS, files that `build` left in a run's folder, and peers, in turn, round after round.

    Machines drift: compare the speed-ups over the first line, which are taken within a round. Times are whole calls as
    a caller sees them: images in host memory to outputs in host memory. What cannot run here is SKIPPED with the
    reason; with nothing left to time the status is 3.
    """
    from cli.console import progress_console
    from swin_deploy.atomic import write_text
    from swin_deploy.benchmark.request import Request
    from swin_deploy.benchmark.run import bench

    sizes = tuple(dict.fromkeys(int(size) for sizes in batch for size in sizes)) or (1,)
    request = Request(
        artifacts,
        sizes,
        tuple(dict.fromkeys(peers)),
        tuple(dict.fromkeys(peer_precision)),
        rounds,
        calls,
        warmup,
        warmup_seconds,
        threads,
        cuda_graph,
        memory,
        roofline,
    )
    with progress_console(quiet).status("") as status:
        results = bench(request, status.update)
    recommended = ""
    if record and results.lines:
        from swin_deploy.report.record_speed import record_speed

        recommended = record_speed(artifacts, results).recommendation
    text = json.dumps(results.to_json(), indent=1, allow_nan=False)
    if out is not None:
        write_text(out, text + "\n")
    if export_times is not None:
        _export(export_times, results)
    if as_json:
        click.echo(text)
    else:
        _print(results, recommended)
    return _UNAVAILABLE if not results.lines or (require and results.skipped) else 0


def _export(path: Path, results: Benchmark) -> None:
    """One line's calls a file: trtexec's format has no place for a name."""
    from swin_deploy.atomic import write_text
    from swin_deploy.benchmark.times_files import times_files
    from swin_deploy.device.trtexec_json import trtexec_text

    for file, calls in zip(times_files(path, results.lines), results.calls, strict=True):
        write_text(file, trtexec_text(calls))


def _print(results: Benchmark, recommended: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=170)
    phases = any(line.compute_ms is not None for line in results.lines)
    energy = any(line.joules_per_image is not None for line in results.lines)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, title in enumerate(_titles(phases, energy)):
        table.add_column(title, justify="left" if place < 3 else "right")
    for line in results.lines:
        table.add_row(*_cells(line, phases, energy))
    if results.lines:
        console.print(table)
    for entry in results.skipped:
        name = f"{entry.artifact} ({entry.backend}, {entry.precision})"
        console.print(f"SKIPPED {name}: {entry.reason}", markup=False, style="yellow", soft_wrap=True)
    for remark in results.remarks():
        console.print(remark, markup=False, style="yellow", soft_wrap=True)
    console.print(results.describe(), markup=False, style="dim", soft_wrap=True)
    if recommended:
        console.print(recommended, markup=False, soft_wrap=True)


def _titles(phases: bool, energy: bool) -> list[str]:
    titles = ["artifact", "backend", "precision", "batch", "p50 ms", "p90", "p95", "p99", "CV %"]
    titles += ["in", "GPU", "out"] * phases
    titles += ["images/s", "speed-up", "roofline %", "host MiB", "device MiB"]
    return titles + ["J/image"] * energy


def _cells(line: Line, phases: bool, energy: bool) -> list[str]:
    def shown(value: float | None, digits: int = 2, scale: float = 1.0) -> str:
        return "-" if value is None else f"{scale * value:.{digits}f}"

    latency, mib = line.latency, 2.0**-20
    cells = [
        line.artifact,
        f"{line.backend}, CUDA graph" if line.cuda_graph else line.backend,
        line.precision,
        str(line.batch),
        *(shown(value) for value in (latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms)),
        shown(latency.variation, 1, 100),
    ]
    cells += [shown(value) for value in (line.copy_in_ms, line.compute_ms, line.copy_out_ms)] * phases
    cells += [
        shown(line.images_per_second, 0),
        f"{line.ratio.middle:.2f} ({line.ratio.low:.2f}-{line.ratio.high:.2f})",
        shown(line.roofline_share, 1, 100),
        shown(line.host_bytes, 0, mib),
        shown(line.device_bytes, 0, mib),
    ]
    return cells + [shown(line.joules_per_image, 4)] * energy
