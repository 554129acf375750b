"""What a manifest knows of a quantized chain and of its FP16 rival, gathered for the recommendation and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swin_deploy.artifact import Format, Precision
from swin_deploy.manifest import Manifest, Row, StepRecord
from swin_deploy.parity.gates import Verdict
from swin_deploy.quantization.measure import QuantizationMeasure
from swin_deploy.quantization.verdict import Figures, Recommendation, Speed, recommend

__all__ = ["QUANTIZED", "Chain", "chain_of", "chains", "figures_of", "kernels_of", "recommendation"]

QUANTIZED = tuple(precision.value for precision in Precision if precision.quantized)
"""The precisions that have Q/DQ graphs."""
_ENGINES = {format_.value for format_ in Format if format_.value.endswith("-plan")}
_DROPS = ("top1-drop", "psnr-y-drop")


@dataclass(frozen=True)
class Chain:
    """All that a run made in one precision.

    Attributes:
        precision: `int8`, `fp8` or `fp16`.
        steps: In the order they ran.
    """

    precision: str
    steps: tuple[StepRecord, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every gated row that was executed."""
        return tuple(
            row for step in self.steps for row in step.rows if row.measurement is not None and row.gate is not None
        )

    @property
    def judged(self) -> Row | None:
        """The row nearest to what is deployed: of the engine where it was executed, else of the last graph."""
        return self.rows[-1] if self.rows else None

    @property
    def measure(self) -> QuantizationMeasure | None:
        """What was measured inside the Q/DQ graph."""
        found = (row.quantization for row in self.rows if row.quantization)
        raw = next(found, None)
        return None if raw is None else QuantizationMeasure.from_json(raw)

    @property
    def graph(self) -> StepRecord | None:
        """The typed graph that engines are built from, named as its precision."""
        return next((step for step in self.steps if step.artifact == self.precision and step.file), None)

    @property
    def engine(self) -> StepRecord | None:
        """The engine's record, where one was built."""
        return next((step for step in self.steps if step.format in _ENGINES and step.file), None)


def chain_of(manifest: Manifest, precision: str) -> Chain:
    """What the run made in `precision`."""
    return Chain(precision, tuple(step for step in manifest.steps if step.precision == precision))


def chains(manifest: Manifest) -> tuple[Chain, ...]:
    """The quantized chains of the run."""
    return tuple(chain for chain in (chain_of(manifest, name) for name in QUANTIZED) if chain.steps)


def recommendation(manifest: Manifest) -> str:
    """One sentence for each quantized precision; empty where there is none."""
    return " ".join(recommended(manifest, chain).sentence for chain in chains(manifest))


def recommended(manifest: Manifest, chain: Chain) -> Recommendation:
    """The recommendation for one quantized chain."""
    return recommend(figures_of(manifest, chain))


def figures_of(manifest: Manifest, chain: Chain) -> Figures:
    """What the recommendation for a quantized chain is made of."""
    fp16 = chain_of(manifest, Precision.FP16.value)
    failed = dict.fromkeys(
        f"{check['check']}: {check['detail']}"
        for row in chain.rows
        for check in row.judgements
        if check["verdict"] == Verdict.FAIL.value
    )
    drops = [check for row in chain.rows for check in row.judgements if check["check"] in _DROPS]
    undecided = [
        f"{check['check']}: {check['detail']}"
        for row in chain.rows
        for check in row.judgements
        if check["verdict"] == Verdict.INCONCLUSIVE.value
    ]
    own, rival = kernels_of(chain.engine), kernels_of(fp16.engine)
    return Figures(
        executed=bool(chain.rows),
        failed=tuple(failed),
        drop=drops[-1]["detail"] if drops else "",
        undecided=undecided[-1] if undecided else "",
        unjudged="" if drops else f"what the task loses was not judged on {manifest.judged_on()}",
        speed=_speed(manifest, fp16.engine, chain.engine),
        kernels=(rival["kernels"], own["kernels"]) if own and rival else None,
        bench=_bench(fp16, chain),
        name=chain.precision.upper(),
    )


def kernels_of(engine: StepRecord | None) -> Mapping[str, Any] | None:
    """The census of an engine's first target, where its builder listed the layers."""
    found: Mapping[str, Mapping[str, Any]] = engine.facts.get("kernels", {}) if engine else {}
    return next(iter(found.values()), None)


def _bench(fp16: Chain, chain: Chain) -> str:
    if fp16.engine and chain.engine:
        return f"swin-deploy bench --record RUN/{fp16.engine.file} RUN/{chain.engine.file}"
    return ""


def _speed(manifest: Manifest, fp16: StepRecord | None, own: StepRecord | None) -> Speed | None:
    """Both engines' lines at one batch; the usual one where it was timed."""
    if manifest.speed is None or fp16 is None or own is None:
        return None
    lines: dict[tuple[str, int], Mapping[str, Any]] = {
        (str(line["artifact"]).rpartition("/")[2], int(line["batch"])): line
        for line in manifest.speed["lines"]
        if not line.get("cuda_graph")  # the ratios of those are to a line without one
    }
    both = sorted(size for name, size in lines if name == own.file and (str(fp16.file), size) in lines)
    if not both:
        return None
    usual = int(manifest.recipe["batch"][1])
    batch = usual if usual in both else both[0]
    slow, fast = lines[str(fp16.file), batch], lines[str(own.file), batch]
    device = str(manifest.speed["machine"]["gpu"])
    if not slow["ratio"] == slow["ratio_low"] == slow["ratio_high"] == 1:
        return None  # ratios were taken to another artifact, so that their spread against FP16 is not known
    return Speed(fast["ratio"], fast["ratio_low"], fast["ratio_high"], batch, device)
