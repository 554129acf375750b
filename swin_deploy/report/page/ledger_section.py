"""The ledger: every artifact against the oracle, and which step made its noise."""

from __future__ import annotations

from swin_deploy.manifest import Manifest
from swin_deploy.report.attribution import attributed, made_here, usual_batch
from swin_deploy.report.by_output import TITLE, by_output
from swin_deploy.report.ledger import LedgerLine, columns, decibels, ledger
from swin_deploy.report.markdown import legend
from swin_deploy.report.page.document import Note, Part, Section, TableOf, figures
from swin_deploy.report.page.noise_figure import noise_figure
from swin_deploy.report.page.table import Cell, Table, badge, cells

__all__ = ["ledger_section"]

_BEFORE = 4  # columns before those of the attribution


def ledger_section(manifest: Manifest) -> Section:
    """The whole table, with two columns of attribution, and its picture."""
    usual = usual_batch(manifest)
    heads = columns(manifest)[:-1]
    heads = (*heads[:_BEFORE], "to parent dB", "made here", *heads[_BEFORE:])
    rows = tuple(_row(line, usual) for line in ledger(manifest))
    table = Table("Every artifact as it was measured", heads, rows, frozenset(range(3, len(heads))))
    told = (
        f"{legend(manifest)} SKIPPED was not executed. To parent: the same ratio against the artifact that it was made "
        "from; made here: the share of its noise that its own step made, as far as errors are independent."
    )
    parts: list[Part] = [TableOf(table), Note(told, "small")]
    caption = (
        "Ring and dot together: the step made the noise itself. Ring further right: the noise came with its parent. "
        "Red: what its gate asks for."
    )
    parts += figures((noise_figure(attributed(manifest)), caption))
    outputs = by_output(manifest)
    if outputs is not None:
        numbers = frozenset(range(2, len(outputs.heads)))
        parts.append(TableOf(Table(TITLE, outputs.heads, tuple(cells(*row) for row in outputs.rows), numbers)))
    return Section("ledger", "Ledger of the stages", tuple(parts))


def _row(line: LedgerLine, usual: str) -> tuple[Cell, ...]:
    artifact, measured, verdict, ratio, *rest = line.cells[:-1]  # the stages' own times stand with the stages
    parent, share = "-", "-"
    measurement = None if line.row is None else line.row.measurement
    if measurement is not None and measurement["parent"] is not None:
        parent = decibels(float(measurement["parent"]["sqnr_db"]))
        found = made_here(measurement, usual)
        share = "-" if found is None else f"{100 * found:.0f} %"
    texts = (ratio, parent, share, *rest)
    return (
        Cell(artifact or line.step.artifact, line.step.precision if artifact else "again"),
        Cell(measured, "wide"),
        badge(verdict),
        *(Cell(text, "quiet" if text == "-" else "") for text in texts),
    )
