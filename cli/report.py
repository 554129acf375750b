"""`swin-deploy report`: write a run's report anew."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command(name="report", short_help="Write a run's page anew.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--finish",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A finish.json that a device wrote; may be repeated.",
)
def command(run: Path, finish: tuple[Path, ...]) -> int:
    """Write report.md and report.html of RUN, a folder that `build` made, from its manifest.

    What devices made of the run's bundle is shown beside it where their finish.json is given, each time.
    """
    from swin_deploy.report.finish_file import read_finish
    from swin_deploy.report.write import rewrite_report

    page = rewrite_report(run, [read_finish(path) for path in finish])
    click.echo(f"Open {page} in a browser; report.md beside it says the same.")
    return 0
