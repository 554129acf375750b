"""What a run offers for deployment: one line a precision, with what is known of it and what is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swin_deploy.artifact import Precision
from swin_deploy.manifest import Manifest, Row, StepRecord
from swin_deploy.parity.gates import Verdict
from swin_deploy.report.drop_interval import DropInterval, interval_of
from swin_deploy.report.latency_line import LatencyLine
from swin_deploy.report.plan_figures import Chain, chain_of, chains, kernels_of, recommended

__all__ = ["Candidate", "candidates"]


@dataclass(frozen=True)
class Candidate:
    """One precision of a run.

    Attributes:
        precision: Its name.
        verdict: The worst of its gated rows that were executed; SKIPPED where none was.
        recommended: Whether the recommendation names it.
        engine: The engine's record; `None` where none was built.
        executed: Whether that engine was executed.
        judged: The row nearest to what is deployed, and on what it ran.
        interval: What the task loses by that row.
        sqnr_db: Against the oracle, the lowest of the batches, by that row.
        kernels: Of the engine, where its builder listed them.
        time: The line at the usual batch, else at another; `None` where nothing was timed.
    """

    precision: str
    verdict: Verdict
    recommended: bool
    engine: StepRecord | None
    executed: bool
    judged: Row | None
    interval: DropInterval | None
    sqnr_db: float | None
    kernels: int | None
    time: LatencyLine | None


def candidates(manifest: Manifest, lines: Sequence[LatencyLine] = ()) -> tuple[Candidate, ...]:
    """One a precision that the run made anything in, from the widest type to the narrowest."""
    chosen = {recommended(manifest, chain).choice for chain in chains(manifest)}
    made = {step.precision for step in manifest.steps}
    return tuple(
        _candidate(manifest, chain_of(manifest, name), lines, name.upper() in chosen)
        for name in (precision.value for precision in Precision)
        if name in made
    )


def _candidate(manifest: Manifest, chain: Chain, lines: Sequence[LatencyLine], chosen: bool) -> Candidate:
    engine, row = chain.engine, chain.judged
    verdicts = {found.verdict for found in chain.rows} | {
        found.verdict for step in chain.steps for found in step.rows if found.verdict is Verdict.FAIL
    }
    order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
    step = next((step for step in chain.steps if row is not None and row in step.rows), None)
    census = kernels_of(engine)
    return Candidate(
        precision=chain.precision,
        verdict=next((verdict for verdict in order if verdict in verdicts), Verdict.SKIPPED),
        recommended=chosen,
        engine=engine,
        executed=engine is not None and any(found.measurement is not None for found in engine.rows),
        judged=row,
        interval=None if row is None or step is None else interval_of(step, row),
        sqnr_db=_lowest(row),
        kernels=int(census["kernels"]) if census else None,
        time=_time(manifest, chain, lines),
    )


def _lowest(row: Row | None) -> float | None:
    if row is None or row.measurement is None:
        return None
    return min(float(entry["sqnr_db"]) for entry in row.measurement["oracle"].values())


def _time(manifest: Manifest, chain: Chain, lines: Sequence[LatencyLine]) -> LatencyLine | None:
    """The engine's before the graph's, the usual batch before another."""
    usual = int(manifest.recipe["batch"][1])
    files = {step.file: step.format.endswith("-plan") for step in chain.steps if step.file}
    own = [line for line in lines if line.artifact in files or line.precision == chain.precision]
    return min(own, key=lambda line: (not files.get(line.artifact, False), abs(line.batch - usual)), default=None)
