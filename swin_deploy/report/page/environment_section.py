"""Where and from what it was made: machine, tools, images, options, and what each stage said."""

from __future__ import annotations

import json

from swin_deploy.manifest import Manifest, StepRecord
from swin_deploy.report.environment import options_given, tools_of
from swin_deploy.report.markdown import LONG_FACTS
from swin_deploy.report.page.document import Facts, Folded, Note, Part, Section, TableOf
from swin_deploy.report.page.table import Cell, Table, badge

__all__ = ["environment_section", "stages_section"]


def environment_section(manifest: Manifest) -> Section:
    """Facts that must be the same for the same result."""
    evaluation = manifest.evaluation
    machine = [(name.replace("gpu", "GPU"), str(value)) for name, value in manifest.machine.items()]
    images = [
        ("images", f"{evaluation['images']} of {evaluation['source']}"),
        ("fingerprint", str(evaluation["fingerprint"])),
        ("preprocessing", json.dumps(evaluation["preprocess"])),
    ]
    checkpoint = [("checkpoint", str(manifest.checkpoint["file"])), ("sha256", str(manifest.checkpoint["sha256"]))]
    parts: list[Part] = [
        Facts((*checkpoint, *machine, *images)),
        Folded("Tools", (Facts(tuple(tools_of(manifest).items())),)),
        Folded("Options that were not the defaults", (Facts(tuple(options_given(manifest).items())),)),
    ]
    return Section("environment", "Environment", tuple(parts))


def stages_section(manifest: Manifest) -> Section:
    """What each stage made, folded away."""
    return Section("stages", "Stages", tuple(_stage(step) for step in manifest.steps))


def _stage(step: StepRecord) -> Folded:
    entries = [("made from", step.parent), ("stage", step.stage)]
    if not step.skipped:
        entries.append(("took", f"{step.seconds:.1f} s"))
    if step.file:
        entries += [("file", f"{step.file}, {step.bytes} bytes"), ("sha256", step.sha256)]
    entries.append(("tools", ", ".join(f"{name} {version}" for name, version in step.tools.items())))
    entries += [
        (key.replace("_", " "), str(value) if isinstance(value, (str, int, float)) else json.dumps(value))
        for key, value in step.facts.items()
        if key not in LONG_FACTS
    ]
    parts: list[Part] = [Note(note) for note in step.notes]
    checks = [(row, check) for row in step.rows for check in row.judgements]
    if checks:
        rows = tuple(
            (Cell(row.label), Cell(check["check"]), badge(check["verdict"]), Cell(check["detail"]))
            for row, check in checks
        )
        parts.append(TableOf(Table(f"Checks of {step.artifact}", ("measured as", "check", "verdict", "seen"), rows)))
    verdict = step.verdict.value if step.verdict.value != "INFO" else "made"
    return Folded(f"{step.artifact}: {verdict}", (*parts, Facts(tuple(entries))))
