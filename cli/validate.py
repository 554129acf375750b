"""`swin-deploy validate`: judge one artifact of a run against the oracle, on the user's own images."""

from __future__ import annotations

import json
from pathlib import Path

import click

__all__ = ["command"]


@click.command(name="validate", short_help="Judge one artifact of a run against the oracle on your data.")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=str), help="Images, labelled or not; without: synthetic ones.")
@click.option("--images", type=click.IntRange(0), default=0, help="Use so many of them; 0: all, or the usual number.")
@click.option("--max-drop", type=float, default=1.0, show_default=True, help="Margin of top-1, percentage points.")
@click.option(
    "--max-psnr-drop", type=float, default=0.1, show_default=True, help="Margin of restoration, dB of PSNR-Y."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    artifact: Path,
    data: str | None,
    images: int,
    max_drop: float,
    max_psnr_drop: float,
    as_json: bool,
    quiet: bool,
) -> int:
    """Judge ARTIFACT, a file that `build` left in a run's folder, by the gate of its precision.

    The oracle is the run's own reference. A skipped run (no GPU for an engine) ends with status 3.
    """
    from cli.console import ProgressListener, print_ledger, progress_console
    from swin_deploy.validation import validate

    with ProgressListener(progress_console(quiet or as_json)) as listener:
        manifest = validate(
            artifact, data=data, images=images, max_drop=max_drop, max_psnr_drop=max_psnr_drop, listener=listener
        )
    if as_json:
        click.echo(json.dumps(manifest.to_json(), indent=1))
    else:
        print_ledger(manifest)
    assert manifest.status is not None
    return manifest.status
