"""The part of the Markdown report that says what devices made of the run's bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from swin_deploy.report.finish_file import Finish
from swin_deploy.report.ledger import decibels

__all__ = ["device_lines"]


def device_lines(finishes: Sequence[Finish]) -> Iterator[str]:
    """Markdown lines, one section a device; nothing without results."""
    for finish in finishes:
        yield ""
        yield f"## On {finish.name}"
        yield ""
        tool = f"{finish.tool.get('package')} {finish.tool.get('version')}"
        yield f"{finish.verdict} (exit status {finish.status}); {tool}."
        yield ""
        yield "| engine | verdict | batch | SQNR dB | agree % | p50 ms | p99 ms | images/s |"
        yield "|---|---|---|---|---|---|---|---|"
        for engine in finish.engines:
            # The fastest of a batch stands last, and so remains.
            times = {str(line.batch): line for line in sorted(engine.latency, key=lambda line: -line.p50_ms)}
            for batch in dict.fromkeys((*engine.batches, *times)) or ("-",):
                found, line = engine.batches.get(batch), times.get(batch)
                agreement = found["agreement"] if found else None
                cells = (
                    engine.name,
                    engine.verdict,
                    batch,
                    decibels(found["sqnr_db"]) if found else "-",
                    "-" if agreement is None else f"{100 * agreement:.2f}",
                    *((f"{line.p50_ms:.2f}", f"{line.p99_ms:.2f}", f"{line.images_per_second:.0f}") if line else "---"),
                )
                yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        told = [
            *(f"- {engine.name}: {engine.reason}" for engine in finish.engines if engine.reason),
            *(
                f"- {engine.name}, {check['check']}: {check['detail']}"
                for engine in finish.engines
                for check in engine.checks
                if check["verdict"] == "FAIL"
            ),
            *(f"- {remark}" for remark in finish.remarks),
        ]
        if told:
            yield ""
            yield from told
