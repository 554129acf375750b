"""What a run shows while it works and when it is done: progress on standard error, the ledger on standard output."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from swin_deploy.parity.gates import Verdict
from swin_deploy.report.by_output import TITLE, by_output
from swin_deploy.report.ledger import columns, ledger

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from swin_deploy.manifest import Manifest, StepRecord
    from swin_deploy.plan import Step, View

__all__ = ["ProgressListener", "print_ledger", "progress_console"]

_STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.SKIPPED: "dim",
    Verdict.INFO: "",
}


def progress_console(quiet: bool) -> Console:
    """Standard error, or nowhere when `quiet`."""
    from rich.console import Console

    return Console(stderr=True, quiet=quiet, highlight=False)


class ProgressListener:
    """Shows a bar while images run, and a line for each finished stage."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            # A bar in a log file is noise; finished stages still get their lines.
            disable=console.quiet or not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressListener:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def stage_started(self, step: Step) -> None:
        """See `Listener`."""
        self._start(f"{step.artifact}: {step.stage.name}")

    def view_started(self, step: Step, view: View) -> None:
        """See `Listener`."""
        self._start(f"{step.artifact}: {view.label} on {view.backend.name}")

    def progress(self, done: int, total: int) -> None:
        """See `Listener`."""
        if self._task is not None:
            self._bar.update(self._task, completed=done, total=total)

    def step_finished(self, record: StepRecord, reused: bool) -> None:
        """See `Listener`."""
        self._finish()
        word = "reused" if reused else f"{record.seconds:.1f} s"
        verdict = record.verdict.value if record.verdict is not Verdict.INFO else "done"
        self._console.print(
            f"[{_STYLES[record.verdict] or 'default'}]{verdict:>12}[/] {record.artifact} ({word})", soft_wrap=True
        )
        for note in (*record.notes, *([record.skipped] if record.skipped else [])):
            self._console.print(f"{'':>12} {note}", markup=False, style="dim", soft_wrap=True)

    def _start(self, text: str) -> None:
        self._finish()
        self._task = self._bar.add_task(text, total=None)

    def _finish(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None


def print_ledger(manifest: Manifest) -> None:
    """The table of the run, what was not shown and why, the recommendation and the verdict."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, highlight=False, width=150)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns(manifest)):
        table.add_column(column, justify="left" if position < 3 else "right", no_wrap=position in (0, 2))
    lines = ledger(manifest)
    for line in lines:
        style = _STYLES[line.verdict]
        cells = [f"[{style}]{cell}[/]" if style and position == 2 else cell for position, cell in enumerate(line.cells)]
        table.add_row(*cells)
    console.print(f"Judged on {manifest.judged_on()}.", markup=False, soft_wrap=True)
    console.print(table)
    scales = by_output(manifest)
    if scales is not None:
        console.print(f"{TITLE}:")
        outputs = Table(box=None, pad_edge=False, header_style="bold")
        for position, head in enumerate(scales.heads):
            outputs.add_column(head, justify="left" if position < 2 else "right")
        for row in scales.rows:
            outputs.add_row(*row)
        console.print(outputs)
    reasons = dict.fromkeys(
        f"{line.verdict.value if line.verdict is Verdict.SKIPPED else 'note'}: {line.reason}"
        for line in lines
        if line.reason
    )
    for reason in reasons:
        console.print(reason, markup=False, style="dim", soft_wrap=True)
    if manifest.recommendation:
        console.print(manifest.recommendation, markup=False, soft_wrap=True)
    console.print(manifest.verdict, markup=False, style="bold", soft_wrap=True)
