"""The page of one run, for whoever has to decide what to deploy: the decision first, then what it rests on."""

from __future__ import annotations

from collections.abc import Sequence

from swin_deploy import __version__
from swin_deploy.manifest import Manifest
from swin_deploy.parity.gates import Verdict
from swin_deploy.report.finish_file import Finish
from swin_deploy.report.front import TimedRun
from swin_deploy.report.ledger import ledger
from swin_deploy.report.measured_times import latency_lines
from swin_deploy.report.page.accuracy_section import accuracy_section
from swin_deploy.report.page.audit_section import audit_section
from swin_deploy.report.page.blocks_section import blocks_section
from swin_deploy.report.page.decision_section import decision_section, skipped_section
from swin_deploy.report.page.device_section import device_section
from swin_deploy.report.page.document import Note, Page
from swin_deploy.report.page.environment_section import environment_section, stages_section
from swin_deploy.report.page.front_section import front_section
from swin_deploy.report.page.inline_svg import WITHOUT, drawable
from swin_deploy.report.page.latency_section import latency_section
from swin_deploy.report.page.ledger_section import ledger_section
from swin_deploy.report.page.render import rendered
from swin_deploy.report.page.table import Cell, badge
from swin_deploy.report.plan_figures import chains, recommended

__all__ = ["run_page"]

_UNWEIGHED = "No recommendation: this run made no INT8 or FP8, so that there is nothing to weigh FP16 against."


def run_page(manifest: Manifest, finishes: Sequence[Finish] = ()) -> str:
    """HTML.

    Args:
        manifest: The run.
        finishes: What devices made of its bundle.
    """
    lines = latency_lines(manifest, finishes)
    sections = (
        decision_section(manifest, lines, finishes),
        skipped_section(manifest),
        device_section(finishes),
        ledger_section(manifest),
        accuracy_section(manifest),
        latency_section(manifest, lines),
        front_section([TimedRun("", manifest, lines)]),
        blocks_section(manifest),
        audit_section(manifest),
        environment_section(manifest),
        stages_section(manifest),
    )
    return rendered(
        Page(
            title=str(manifest.checkpoint["file"]),
            subtitle=_subtitle(manifest),
            verdict=_marks(manifest, finishes),
            lead=_lead(manifest, finishes),
            sections=tuple(section for section in sections if section is not None),
            foot=f"Written by swin-deploy {__version__} from manifest.json. What was not executed is never PASS.",
        )
    )


def _subtitle(manifest: Manifest) -> str:
    transform, batches = manifest.evaluation["preprocess"], ", ".join(map(str, manifest.recipe["batch"]))
    size = f"{transform['height']}\N{MULTIPLICATION SIGN}{transform['width']}"
    task = manifest.task or "network of one's own"
    return f"{task} at {size}, batches {batches}, target {manifest.target}, {manifest.seconds:.0f} s"


def _marks(manifest: Manifest, finishes: Sequence[Finish]) -> tuple[Cell, ...]:
    known = {verdict.value for verdict in Verdict}
    word = manifest.verdict.partition(":")[0]
    found = [badge(word) if word in known else badge("NOT FINISHED" if manifest.status is None else "FAIL")]
    skipped = sum(line.verdict is Verdict.SKIPPED for line in ledger(manifest))
    if skipped:
        found.append(Cell(f"{skipped} SKIPPED", "skipped", badge=True))
    found += [Cell(f"FAIL on {finish.name}", "fail", badge=True) for finish in finishes if finish.status != 0]
    return tuple(found)


def _lead(manifest: Manifest, finishes: Sequence[Finish]) -> tuple[Note, ...]:
    status = "not finished" if manifest.status is None else f"exit status {manifest.status}"
    found = [Note(recommended(manifest, chain).sentence, "advice") for chain in chains(manifest)]
    found = found or [Note(_UNWEIGHED, "advice")]
    # A device's word counts for more than what was recommended before it had spoken.
    found += [
        Note(f"On {finish.name}: {finish.verdict}", "verdict" if finish.status == 0 else "fail") for finish in finishes
    ]
    found.append(Note(f"{manifest.verdict} ({status}). Judged on {manifest.judged_on()}.", "verdict"))
    if not drawable():
        found.append(Note(WITHOUT, "warn"))
    return tuple(found)
