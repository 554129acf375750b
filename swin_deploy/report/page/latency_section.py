"""Latency: distributions and figures of everything that was timed, or the command that times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swin_deploy.manifest import Manifest
from swin_deploy.report.latency_line import LatencyLine
from swin_deploy.report.measured_times import timing_command
from swin_deploy.report.page.document import Facts, Heading, Note, Part, Section, TableOf, figures
from swin_deploy.report.page.latency_figure import latency_figure
from swin_deploy.report.page.table import Cell, Table

__all__ = ["latency_section"]


def latency_section(manifest: Manifest, lines: Sequence[LatencyLine]) -> Section:
    """A picture for each device and batch, one table, and the conditions."""
    command = timing_command(manifest)
    if not lines:
        told = "NOT MEASURED: nothing of this run was timed. Kernels and sizes are no latency."
        do = " On the device, this adds times to the page:" if command else ""
        return Section("latency", "Latency", (Note(told + do, "skipped", command),))
    parts: list[Part] = []
    for number, device in enumerate(dict.fromkeys(line.device for line in lines)):
        own = [line for line in lines if line.device == device]
        caption = "Line: 1st to 99th percentile of the calls; thick: 25th to 75th; dot: median; tick: 95th percentile."
        parts += [Heading(device), *figures((latency_figure(f"latency-{number}", own), caption)), TableOf(_table(own))]
    if manifest.speed is not None:
        parts += [
            Note(f"SKIPPED {entry['artifact']} ({entry['backend']}): {entry['reason']}", "skipped")
            for entry in manifest.speed.get("skipped", ())
        ]
        telemetry = manifest.speed.get("telemetry") or {}
        parts += [Note(sentence, "warn") for sentence in telemetry.get("throttled", ())]
        parts.append(Facts(tuple(_conditions(manifest.speed))))
    return Section("latency", "Latency", tuple(parts))


def _table(lines: Sequence[LatencyLine]) -> Table:
    phases = any(line.phases_ms for line in lines)
    memory = any(line.device_mib is not None for line in lines)
    share = any(line.roofline_share is not None for line in lines)
    energy = any(line.joules_per_image is not None for line in lines)
    heads = ["artifact", "backend", "batch", "p50 ms", "p90", "p95", "p99", "CV %", "images/s", "speed-up"]
    heads += (
        ["in / compute / out ms"] * phases + ["device MiB"] * memory + ["of roofline"] * share + ["mJ/image"] * energy
    )
    rows = []
    for line in lines:
        row = [
            Cell(line.name, line.precision),
            Cell(line.backend),
            Cell(str(line.batch)),
            *(Cell(f"{value:.2f}") for value in (line.p50_ms, line.p90_ms, line.p95_ms, line.p99_ms)),
            Cell(f"{100 * line.variation:.1f}"),
            Cell(f"{line.images_per_second:.0f}"),
            Cell(_ratio(line)),
        ]
        if phases:
            row.append(Cell(" / ".join(f"{phase:.2f}" for phase in line.phases_ms) if line.phases_ms else "-"))
        if memory:
            row.append(Cell("-" if line.device_mib is None else f"{line.device_mib:.0f}"))
        if share:
            row.append(Cell("-" if line.roofline_share is None else f"{100 * line.roofline_share:.0f} %"))
        if energy:
            row.append(Cell("-" if line.joules_per_image is None else f"{1000 * line.joules_per_image:.1f}"))
        rows.append(tuple(row))
    return Table(f"Times on {lines[0].device}", tuple(heads), tuple(rows), frozenset(range(2, len(heads))))


def _ratio(line: LatencyLine) -> str:
    if line.ratio is None:
        return "-"
    if line.ratio_low is None or line.ratio_high is None or line.ratio == line.ratio_low == line.ratio_high:
        return f"{line.ratio:.2f}"
    return f"{line.ratio:.2f} ({line.ratio_low:.2f} to {line.ratio_high:.2f})"


def _conditions(speed: Any) -> list[tuple[str, str]]:
    machine = speed["machine"]
    found = [
        ("rounds", f"{speed['rounds']} interleaved, after {speed['warmup']} calls of warm-up"),
        ("threads", str(speed["threads"])),
        ("processor", str(machine.get("processor", "an unnamed processor"))),
        ("GPU", str(machine["gpu"])),
        ("speed-up", "time of the first artifact over this one's, median over the rounds with quartiles"),
    ]
    if speed.get("flags"):
        flags = speed["flags"]
        told = ", ".join(f"{name} {value}" for name, value in flags.items()) if isinstance(flags, dict) else str(flags)
        found.append(("flags", told))
    return found
