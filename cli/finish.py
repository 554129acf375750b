"""`swin-deploy finish`: unpack a bundle and run its own runner.py with this Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

__all__ = ["command"]


@click.command(name="finish", short_help="Finish a bundle on this device: build, prove, measure.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--into", type=click.Path(path_type=Path), help="Where an archive is unpacked.  [default: beside it]")
@click.option("--precision", metavar="fp16,int8", help="These engines only.")
@click.option(
    "--backend",
    type=click.Choice(["auto", "tensorrt", "tensorrt_rtx", "kernels", "onnxruntime"]),
    default="auto",
    show_default=True,
    help="What builds and runs; kernels: the kernel programs alone; onnxruntime proves the bundle on a CPU.",
)
@click.option("--workspace", type=click.IntRange(1), metavar="MIB", help="Scratch memory of the kernels.")
@click.option("--memory-limit", type=click.IntRange(1), metavar="MIB", help="Memory for trying kernels.")
@click.option("--no-bench", is_flag=True, help="Do not time the engines.")
@click.option("--sm", metavar="8.6,8.9", help="GPUs that tensorrt_rtx builds for, where none is here.")
@click.option("--require", type=click.Choice(["engine"]), help="Status 3 where an engine was not executed.")
@click.option("--json", "as_json", is_flag=True, help="Print finish.json.")
def command(
    bundle: Path,
    into: Path | None,
    precision: str | None,
    backend: str,
    workspace: int | None,
    memory_limit: int | None,
    no_bench: bool,
    sm: str | None,
    require: str | None,
    as_json: bool,
) -> int:
    """Finish BUNDLE, an archive of `bundle` or its unpacked folder, on this machine.

    Its own runner.py does the work, the very file that a board runs.
    """
    from swin_deploy.atomic import file_sha256
    from swin_deploy.bundle.unpack import unpacked
    from swin_deploy.device.bundle_file import read_bundle
    from swin_deploy.errors import BadInput

    folder = bundle if bundle.is_dir() else unpacked(bundle, into or bundle.resolve().parent)
    runner = folder / "runner.py"
    if not runner.is_file():
        raise BadInput(f"{folder} holds no runner.py", needed="an archive of swin-deploy bundle, or its folder")
    # It checks all else, and a file cut short cannot check itself: an empty one would end with status 0.
    named = read_bundle(folder).files.get("runner.py")
    if named is None or named.sha256 != file_sha256(runner):
        raise BadInput(f"{runner} is not the one that bundle.json names", needed="the bundle as it was packed")
    values = {
        "--precision": precision,
        "--backend": backend,
        "--workspace": workspace,
        "--memory-limit": memory_limit,
        "--sm": sm,
        "--require": require,
    }
    given = [str(part) for option, value in values.items() if value is not None for part in (option, value)]
    flags = [flag for flag, wanted in (("--no-bench", no_bench), ("--json", as_json)) if wanted]
    return subprocess.run([sys.executable, str(runner), "finish", *given, *flags], check=False).returncode
