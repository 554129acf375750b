"""`swin-deploy bisect`: find the blocks that must stay in higher precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from swin_deploy.bisect.result import BisectResult

__all__ = ["command"]


@click.command(name="bisect", short_help="Find the blocks that must stay in higher precision.")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("artifact", required=False)
@click.option(
    "--metric",
    type=click.Choice(["sqnr", "agreement", "finite"]),
    default="sqnr",
    show_default=True,
    help="What a mixture of precisions is judged by; each wants finite outputs.",
)
@click.option("--need", type=float, help="Its threshold: dB for sqnr, a share for agreement; without: the gate's.")
@click.option("--data", type=click.Path(path_type=str), help="Images; without: the run's own, or synthetic ones.")
@click.option("--images", type=click.IntRange(0), default=0, help="Use so many; 0: 64, or 8 of a dense network's.")
@click.option(
    "--backend",
    type=click.Choice(["auto", "onnxruntime", "tensorrt", "tensorrt_rtx"]),
    default="auto",
    show_default=True,
    help="What executes the trials; auto: an engine where a GPU is, else the CPU, which rounds as the types say.",
)
@click.option("--resume", is_flag=True, help="Go on with the log of an interrupted search.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    run: Path,
    artifact: str | None,
    metric: str,
    need: float | None,
    data: str | None,
    images: int,
    backend: str,
    resume: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Find a smallest set of blocks of ARTIFACT that, in higher precision, let it pass.

    RUN is a folder of `build`; ARTIFACT one of its graphs: fp16, bf16, int8, int8-qdq, fp8 or fp8-qdq, by default the
    first that failed its gate. FP16 and BF16 blocks are raised to FP32 by casts, INT8 and FP8 blocks to float by
    removing their Q/DQ. Writes ARTIFACT.bisected.onnx, and for INT8 and FP8 a plan that `build --precision-plan` takes.
    Ends with status 4 where not even all blocks are enough.
    """
    from cli.console import progress_console
    from swin_deploy.bisect.search_run import Asked, BisectListener, bisect
    from swin_deploy.bisect.trial import Metric

    console = progress_console(quiet or as_json)

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    class Shown(BisectListener):
        def begun(self, subject: str, blocks: int, most: int, backend: str, images: str) -> None:
            say(f"{subject}: {blocks} blocks, at most {most} trials on {backend}; {images}")

        def judged(self, raised: str, figure: str, met: bool, remembered: bool) -> None:
            say(f"{'met' if met else 'not met':>8}  {figure:>10}  {raised}{' (remembered)' if remembered else ''}")

    asked = Asked(artifact, Metric(metric), need, data, images, backend, resume)
    result = bisect(run, asked, Shown())
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=1))
    else:
        _show(result, run)
    return result.status


def _show(result: BisectResult, run: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)

    def say(text: str, style: str = "") -> None:
        console.print(text, markup=False, soft_wrap=True, style=style)

    found, need, low, high = result.found, result.need, result.low.upper(), result.high
    source = f"{result.images} images ({result.source})"
    say(f"{result.subject} on {result.backend}, {source}, judged by {need.words()}.")
    say(f"All in {low}: {need.figure(found.none)}. All in {high}: {need.figure(found.all)}.")
    if found.alone_high:
        table = Table(box=None, pad_edge=False, header_style="bold")
        heads = ("block", f"it alone in {high}", *([f"it alone in {low}"] if found.alone_low else []), "")
        for position, head in enumerate(heads):
            table.add_column(head, justify="right" if head.startswith("it") else "left", no_wrap=position == 0)
        for block in result.blocks:
            cells = [block, need.figure(found.alone_high[block])]
            if found.alone_low:
                cells.append(need.figure(found.alone_low[block]))
            table.add_row(*cells, "raised" if block in (found.blocks or ()) else "")
        console.print(table)
    say(result.verdict, "bold")
    if result.certainty:
        say(result.certainty)
    say(f"{found.asked} mixtures judged ({result.measured} run now), at most {result.most} were possible.")
    if result.verified is not None:
        say(f"Final run of {run / result.verified.file}: {need.figure(result.verified.trial)}.")
    if result.plan_file:
        say(f"The same as a precision plan: {run / result.plan_file}")
    if result.rebuild:
        say(f"Build a run with it: {result.rebuild}")
