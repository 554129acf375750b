"""`swin-deploy bundle`: a run becomes one archive that finishes itself on the device."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cli.option_types import WORDS

__all__ = ["command"]


@click.command(name="bundle", short_help="Pack a run for a device, where it finishes itself.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--target",
    required=True,
    type=click.Choice(["orin", "thor", "xavier", "rtx", "triton"]),
    help="What it is packed for; triton: a Triton model repository.",
)
@click.option(
    "--tensorrt", metavar="VERSION", help="For this TensorRT only, such as 10.3; without: all that are there."
)
@click.option("--precision", type=WORDS, help="Some of fp32, fp16, bf16, int8, fp8; without: all that the run made.")
@click.option("--data", type=click.Path(path_type=str), help="Images for the fixtures; without: the run's own.")
@click.option(
    "--kernels/--no-kernels", default=True, show_default=True, help="Compile and pack this toolkit's own kernels too."
)
@click.option("--out", type=click.Path(path_type=Path), help="The archive.  [default: RUN-TARGET.tar]")
@click.option("--json", "as_json", is_flag=True, help="Print bundle.json.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    run: Path,
    target: str,
    tensorrt: str | None,
    precision: tuple[str, ...] | None,
    data: str | None,
    kernels: bool,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Pack RUN, a folder that `build` left, into one archive for a device.

    Every graph is run against the original model before it is packed; one that fails its gate ends with status 4.
    On the device: tar xf, then python3 runner.py finish.
    """
    from swin_deploy.bundle.pack import PackOptions, pack

    place = out or run.resolve().parent / f"{run.resolve().name}-{target}.tar"
    options = PackOptions(target, tensorrt, precision or (), data, kernels)
    bundle = pack(run, place, options, lambda text: None if quiet or as_json else click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps(bundle.facts(), indent=1))
        return 0
    names = [*(engine.name for engine in bundle.engines), *(program.name for program in bundle.programs)]
    click.echo(f"{place} ({place.stat().st_size / 2**20:.1f} MiB): {', '.join(names)}")
    click.echo(f"On the device: tar xf {place.name} && cd {bundle.name}-{bundle.target} && python3 runner.py finish")
    return 0
