"""The audit of a run's engines: the layers that the builder listed, judged against what the graph asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_deploy.artifact import Format, Precision
from swin_deploy.device.engine_listing import listing_path, read_listing
from swin_deploy.device.kernel_census import Kernel, KernelCensus, counted, kernels_of
from swin_deploy.device.precision_audit import AuditCheck, audited, overall
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.manifest import AUDIT, FILE_NAME, Row, StepRecord, read_manifest
from swin_deploy.parity.gates import Verdict

__all__ = ["AuditedEngine", "Wish", "all_fused", "audit_path", "audit_row", "is_engine"]

_PLANS = frozenset({Format.RTX_PLAN.value, Format.TENSORRT_PLAN.value, Format.TORCH_TENSORRT_PLAN.value})
_SOURCE = "builder log"


@dataclass(frozen=True)
class Wish:
    """What an engine is held to.

    Attributes:
        precision: `None`: the figures are shown, and nothing is judged.
        attentions: How many attentions the graph has, if known.
        linears: How many linears were to be computed in `precision`, if known.
        fp32_products: How many products the graph keeps in FP32, if known.
        strongly_typed: Whether types command the precision, or flags permit it.
    """

    precision: Precision | None = None
    attentions: int | None = None
    linears: int | None = None
    fp32_products: int | None = None
    strongly_typed: bool = True

    def __post_init__(self) -> None:
        if self.linears is not None and self.precision is None:
            raise UsageFault("a number of linears was given without a precision", needed="--precision as well")

    def checks(self, census: KernelCensus) -> tuple[AuditCheck, ...]:
        """The judgement on one listing; without a precision, on the rest of it."""
        checks = audited(
            census,
            self.precision or Precision.FP32,
            attentions=self.attentions,
            linears=self.linears,
            fp32_products=self.fp32_products,
            strongly_typed=self.strongly_typed,
        )
        return checks if self.precision else tuple(check for check in checks if check.check != "precision")


@dataclass(frozen=True)
class AuditedEngine:
    """One listing with its judgement.

    Attributes:
        name: The artifact of a run, or the file.
        file: Where the listing was found.
        targets: Compute capabilities that it holds for, where they are known.
        wish: What it was held to.
        census: The figures.
        checks: The judgement.
        kernels: Every layer; empty where a run kept none.
    """

    name: str
    file: Path
    targets: tuple[str, ...]
    wish: Wish
    census: KernelCensus
    checks: tuple[AuditCheck, ...]
    kernels: tuple[Kernel, ...] = ()

    @property
    def verdict(self) -> str:
        """PASS, FAIL or INFO."""
        return overall(self.checks)

    def to_json(self) -> dict[str, Any]:
        """As JSON, without the layers."""
        precision = self.wish.precision
        return {
            "name": self.name,
            "file": str(self.file),
            "targets": list(self.targets),
            "precision": None if precision is None else precision.value,
            "verdict": self.verdict,
            "checks": [check.to_json() for check in self.checks],
            "census": self.census.facts(),
        }


def is_engine(record: StepRecord) -> bool:
    """Whether a step made an engine, which has to be audited."""
    return record.format in _PLANS


def audit_row(record: StepRecord) -> Row:
    """Judge an engine by what its stage wrote down; nothing is built, opened or read for it."""
    row = Row(AUDIT, _SOURCE, AUDIT, Verdict.INFO)
    engines = _recorded(record, Path(record.file or ""))
    if not engines:
        unseen = "no layer listing was printed: whether the precision is what was asked for cannot be seen"
        return Row(AUDIT, _SOURCE, AUDIT, Verdict.INFO, unseen)
    checks = []
    for engine in engines:
        prefix = f"compute capability {', '.join(engine.targets)}: " if len(engines) > 1 else ""
        checks += [{**check.to_json(), "detail": prefix + check.detail} for check in engine.checks]
    verdicts = {engine.verdict for engine in engines}
    verdict = next(name for name in ("FAIL", "INFO", "PASS") if name in verdicts)
    reason = "; ".join(
        str(check["detail"]) for check in checks if check["check"] == "precision" and check["verdict"] != "PASS"
    )
    return Row(row.label, row.backend, row.gate, Verdict(verdict), reason, judgements=tuple(checks))


def all_fused(row: Row) -> bool:
    """Whether an audit saw every attention of the graph as one kernel, on every target."""
    found = [check for check in row.judgements if check["check"] == "attention"]
    return bool(found) and all(check["verdict"] == "PASS" for check in found)


def audit_path(path: Path, wish: Wish) -> tuple[AuditedEngine, ...]:
    """Audit a run's folder, one of its engines, or a saved log or inspector's JSON.

    Args:
        path: One of these.
        wish: What is known; for an engine of a run, what the run wrote down is taken where `wish` says nothing.

    Raises:
        BadInput: there is nothing to audit.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_dir() or (folder / FILE_NAME).is_file():
        engines = [step for step in read_manifest(folder).steps if is_engine(step) and step.file and not step.skipped]
        if path.is_dir():
            found = [engine for step in engines for engine in _of_step(step, folder, wish)]
            if not found:
                raise BadInput(f"the run in {path} built no engine whose layers were listed", needed="a run with one")
            return tuple(found)
        for step in engines:
            if path.name in (step.file, listing_path(folder / str(step.file)).name):
                return _of_step(step, folder, wish)
    if listing_path(path).is_file():
        return _of_listing(listing_path(path), path.name, wish)
    if not path.is_file():
        raise BadInput(f"{path} does not exist", needed="a run's folder, an engine of a run, a log or a JSON of layers")
    return _of_listing(path, path.name, wish)


def _of_step(step: StepRecord, folder: Path, wish: Wish) -> tuple[AuditedEngine, ...]:
    plan = folder / str(step.file)
    recorded = _recorded(step, plan)
    held = _completed(wish, step)
    listing = listing_path(plan)
    if not listing.is_file():
        if not recorded:
            raise BadInput(f"{plan} has no list of its layers beside it", needed=listing.name, do="Build again")
        return tuple(
            AuditedEngine(step.artifact, plan, engine.targets, held, engine.census, held.checks(engine.census))
            for engine in recorded
        )
    listings = _of_listing(listing, step.artifact, held)
    targets = [engine.targets for engine in recorded]
    if len(targets) != len(listings):
        targets = [tuple(step.facts.get("targets", ()))] * len(listings)
    return tuple(
        AuditedEngine(engine.name, plan, fits, held, engine.census, engine.checks, engine.kernels)
        for engine, fits in zip(listings, targets, strict=True)
    )


def _of_listing(path: Path, name: str, wish: Wish) -> tuple[AuditedEngine, ...]:
    engines = []
    for layers in dict.fromkeys(read_listing(path)):
        kernels = kernels_of(layers)
        census = counted(kernels)
        engines.append(AuditedEngine(name, path, (), wish, census, wish.checks(census), kernels))
    return tuple(engines)


def _recorded(record: StepRecord, plan: Path) -> tuple[AuditedEngine, ...]:
    """The censuses of the manifest, those of several targets taken together where they are equal."""
    wish = _completed(Wish(), record)
    kernels: Mapping[str, Mapping[str, Any]] = record.facts.get("kernels") or {}
    together: list[tuple[KernelCensus, list[str]]] = []
    for target, facts in kernels.items():
        try:
            census = KernelCensus(**facts)
        except (TypeError, AttributeError) as error:
            raise BadInput(
                f"the manifest's census of {record.artifact} cannot be read: {error}",
                needed="a manifest as it was written",
            ) from error
        same = next((targets for known, targets in together if known == census), None)
        if same is None:
            together.append((census, [target]))
        else:
            same.append(target)
    return tuple(
        AuditedEngine(record.artifact, plan, tuple(targets), wish, census, wish.checks(census))
        for census, targets in together
    )


def _completed(wish: Wish, record: StepRecord) -> Wish:
    """What the user says, and beyond that what the stage wrote down of its graph."""
    asked: Mapping[str, Any] = record.facts.get("asked") or {}

    def known(said: int | None, name: str) -> int | None:
        return said if said is not None else asked.get(name)

    return Wish(
        wish.precision or Precision(record.precision),
        known(wish.attentions, "attentions"),
        known(wish.linears, "linears"),
        known(wish.fp32_products, "fp32_products"),
        bool(asked.get("strongly_typed", wish.strongly_typed)),
    )
