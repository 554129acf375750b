"""What `finish` writes: `finish.json` for machines, `finish.md` for people, and the times in trtexec's shape."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from swin_deploy.atomic import write_text
from swin_deploy.device.finish_result import EngineResult, FinishResult, conclude
from swin_deploy.device.trtexec_json import trtexec_text

__all__ = ["markdown", "write_report"]


def write_report(result: FinishResult, out: Path, name: str = "finish") -> None:
    """Write the files into the folder `out`: `<name>.json`, `<name>.md` and the times of each engine and batch.

    Raises:
        EnvironmentFault: the disk refuses.
    """
    for entry in result.engines:
        if entry.timing is None:
            continue
        for line, calls in zip(entry.timing.lines, entry.timing.calls):
            write_text(out / f"{entry.engine.name}.batch{line.batch}.times.json", trtexec_text(calls))
    write_text(out / f"{name}.md", markdown(result))
    write_text(out / f"{name}.json", json.dumps(result.facts(), indent=1, allow_nan=False) + "\n")


def markdown(result: FinishResult) -> str:
    """The report of one call."""
    _, verdict = conclude(result)
    device, tool = result.device, result.tool
    parts = [
        f"# {result.bundle.name} for {result.bundle.target}",
        f"**{verdict}**",
        f"Finished with {tool['package']} {tool['version']} on {device['name']} ({device['system']}), in "
        f"{result.seconds:.0f} s. Judged on {result.bundle.image_source}, against the original model's outputs.",
        _table("engine,precision,verdict,file,SQNR dB by batch,agree %,built in", map(_row, result.engines)),
    ]
    for entry in result.engines:
        notes = [*_notes(entry)]
        if notes:
            parts.append(f"## {entry.engine.name}\n\n" + "\n".join(f"- {note}" for note in notes))
    timed = [entry for entry in result.engines if entry.timing is not None]
    if timed:
        captured = [e.engine.name for e in timed if e.timing is not None and any(x.cuda_graph for x in e.timing.lines)]
        parts.append(
            "## Latency\n\nMilliseconds a call, host to host; beside it the GPU alone. Ratios are against "
            "the first engine: above 1 is faster."
            + (f" Started through a CUDA graph, unlike the others: {', '.join(captured)}." if captured else "")
        )
        heads = "engine,batch,p50,p90,p99,variation,GPU p50,images/s,ratio (quartiles),J an image"
        parts.append(_table(heads, (cells for entry in timed for cells in _latency(entry))))
        for entry in timed:
            assert entry.timing is not None
            parts.extend(f"WARNING, {entry.engine.name}: {sentence}" for sentence in entry.timing.telemetry.throttled)
    return "\n\n".join(parts) + "\n"


def _table(heads: str, rows: Iterable[Sequence[str]]) -> str:
    columns = heads.split(",")
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _row(entry: EngineResult) -> tuple[str, ...]:
    distances = entry.replay.distances if entry.replay is not None else {}
    ratios = ", ".join(f"{batch}: {found.sqnr_db:.1f}" for batch, found in sorted(distances.items())) or "-"
    shares = [found.agreement for found in distances.values() if found.agreement is not None]
    build = entry.build or {}
    seconds = "-" if "seconds" not in build else f"{build['seconds']:.0f} s" + (" (earlier)" if build["reused"] else "")
    agreement = f"{100 * min(shares):.2f}" if shares else "-"
    return (
        entry.engine.name,
        entry.engine.precision.value,
        entry.verdict.value,
        f"`{entry.file}`" if entry.file else "-",
        ratios,
        agreement,
        seconds,
    )


def _notes(entry: EngineResult) -> Iterator[str]:
    if entry.reason:
        yield f"SKIPPED, not executed: {entry.reason}"
    if entry.error is not None:
        yield f"Not finished: {entry.error}"
    for check in entry.judgements:
        yield f"{check.verdict.value} {check.check}: {check.detail}"


def _latency(entry: EngineResult) -> Iterator[tuple[str, ...]]:
    assert entry.timing is not None
    for line in entry.timing.lines:
        found, ratio = line.latency, line.ratio
        yield (
            line.artifact,
            str(line.batch),
            *(f"{time:.3f}" for time in (found.p50_ms, found.p90_ms, found.p99_ms)),
            f"{100 * found.variation:.1f} %",
            "-" if line.compute_ms is None else f"{line.compute_ms:.3f}",
            f"{line.images_per_second:.1f}",
            f"{ratio.middle:.2f} ({ratio.low:.2f}-{ratio.high:.2f})",
            "-" if line.joules_per_image is None else f"{line.joules_per_image:.4f}",
        )
