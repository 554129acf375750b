"""The page of a comparison: what differs first, then what came of it, the runs in one colour each."""

from __future__ import annotations

from collections.abc import Sequence

from swin_deploy import __version__
from swin_deploy.comparison.compared_run import ComparedRun
from swin_deploy.comparison.comparison import Comparison
from swin_deploy.report.drop_interval import unit_of
from swin_deploy.report.page.audit_section import engine_table
from swin_deploy.report.page.comparison_tables import difference_table, ledger_table, pair_table, speed_table
from swin_deploy.report.page.document import Heading, Note, Page, Part, Section, TableOf
from swin_deploy.report.page.front_figure import run_colour
from swin_deploy.report.page.front_section import front_section
from swin_deploy.report.page.inline_svg import WITHOUT, drawable
from swin_deploy.report.page.render import rendered

__all__ = ["comparison_page"]

_ALONE = "They were made of the same, with the same and on the same."


def comparison_page(comparison: Comparison) -> str:
    """HTML."""
    runs = comparison.runs
    lead = [Note(f"{run.name}: {run.manifest.verdict}", run_colour(place)) for place, run in enumerate(runs)]
    if not drawable():
        lead.append(Note(WITHOUT, "warn"))
    found = difference_table(comparison)
    different = (TableOf(found),) if found.rows else (Note(_ALONE),)
    sections = (
        Section("differences", "What differs", different),
        _paired(comparison),
        Section("ledger", "Ledgers side by side", (TableOf(ledger_table(runs)),)),
        _engines(runs),
        _speed(comparison),
        front_section(comparison.timed),
    )
    return rendered(
        Page(
            title=" against ".join(run.name for run in runs),
            look="by-run",
            subtitle=f"{len(runs)} runs compared, the first with each of the others",
            verdict=(),
            lead=tuple(lead),
            sections=tuple(section for section in sections if section is not None),
            foot=f"Written by swin-deploy {__version__} from the runs' manifests and outputs.",
        )
    )


def _paired(comparison: Comparison) -> Section:
    usable = [pair for pair in comparison.pairs if pair.images]
    reasons: dict[str, list[str]] = {}
    for pair in comparison.pairs:
        if pair.reason:
            reasons.setdefault(f"{pair.second}: {pair.reason}", []).append(f"{pair.artifact} ({pair.label})")
    parts: list[Part] = []
    if usable:
        told = (
            f"Both runs' outputs for the same images. Above 0 the run is worse than {comparison.runs[0].name}; bounds "
            "are one-sided, 95 %. A McNemar p below 0.05 is a difference that chance hardly makes, if one is looked at."
        )
        parts += [TableOf(pair_table(usable, unit_of(comparison.runs[0].manifest))), Note(told, "small")]
    parts += [Note(f"NOT PAIRED {', '.join(names)}: {reason}", "skipped") for reason, names in reasons.items()]
    if not comparison.pairs:
        parts.append(Note("NOT PAIRED: the runs measured nothing in common.", "skipped"))
    return Section("paired", "Accuracy, image by image", tuple(parts))


def _engines(runs: Sequence[ComparedRun]) -> Section | None:
    parts: list[Part] = []
    for run in runs:
        table = engine_table(run.manifest)
        if table is not None:
            parts += [Heading(run.name), TableOf(table)]
    return Section("engines", "Engines and their kernels", tuple(parts)) if parts else None


def _speed(comparison: Comparison) -> Section:
    table = speed_table(comparison)
    if not table.rows:
        told = "NOT MEASURED: neither run was timed. swin-deploy bench takes artifacts of several runs, interleaved."
        return Section("speed", "Speed", (Note(told, "skipped"),))
    told = "Runs timed apart may have met other clocks: swin-deploy bench times artifacts of several runs together."
    return Section("speed", "Speed", (TableOf(table), Note(told, "small")))
