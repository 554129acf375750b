"""Judge what an engine runs against what was asked for: an FP16 build that computes in FP32 is no FP16 build.

TensorRT says nothing when it ignores a wish: flags that its version no longer has, Q/DQ that it cannot use, types that
an exporter lost. The finished engine's layers say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swin_deploy.artifact import Precision
from swin_deploy.device.kernel_census import TYPES, KernelCensus

__all__ = ["AuditCheck", "audited", "overall", "summary"]

# Builder flags permit a precision, and the builder takes another where that is faster: one product in so many is no
# failed wish. A strongly typed graph commands it.
_STRAY_BY_FLAGS = 10
_SHOWN = 4


@dataclass(frozen=True)
class AuditCheck:
    """One thing that was looked at.

    Attributes:
        check: `precision`, `attention` or `movement`.
        verdict: `PASS`; `FAIL`; `INFO` for what is shown only, or cannot be seen.
        detail: What was seen, and what was asked for.
    """

    check: str
    verdict: str
    detail: str

    def to_json(self) -> dict[str, str]:
        """As it stands in the manifest."""
        return {"check": self.check, "verdict": self.verdict, "detail": self.detail}


def audited(
    census: KernelCensus,
    precision: Precision,
    *,
    attentions: int | None = None,
    linears: int | None = None,
    fp32_products: int | None = None,
    strongly_typed: bool = True,
) -> tuple[AuditCheck, ...]:
    """Compare what an engine runs with what was asked for.

    Args:
        census: Of the engine.
        precision: Asked for.
        attentions: How many attentions the graph has; `None` where nothing is known of it.
        linears: How many of the graph's linears were to be computed in `precision`; `None` likewise.
        fp32_products: How many products and convolutions the graph itself keeps in FP32; `None` likewise, which is none
            for FP16 and BF16, and any number beside INT8 and FP8.
        strongly_typed: Whether the graph's types command, or builder flags permit.

    Returns:
        The checks `precision`, `attention` and `movement`, in this order. Only the first one fails; an attention that
        is not fused costs time and not what was asked for.
    """
    return (
        _precision(census, precision, linears, fp32_products, strongly_typed),
        _attention(census, attentions),
        _movement(census),
    )


def overall(checks: tuple[AuditCheck, ...]) -> str:
    """FAIL where anything fails, PASS where the precision was shown, otherwise INFO."""
    if any(check.verdict == "FAIL" for check in checks):
        return "FAIL"
    return "PASS" if any(check.check == "precision" and check.verdict == "PASS" for check in checks) else "INFO"


def summary(census: KernelCensus, attentions: int | None = None) -> str:
    """The census in one line."""
    least = "at least " if census.opaque else ""
    of = "" if attentions is None else f" of {attentions}"
    return (
        f"{least}{census.kernels} kernels; products: {_by_type(census.gemms_by_type)}; attentions fused: "
        f"{census.fused_attentions}{of}; reformats {census.reformats}, casts {census.casts}, shape operations "
        f"{census.shapes}"
    )


def _precision(
    census: KernelCensus,
    precision: Precision,
    linears: int | None,
    fp32_products: int | None,
    strongly_typed: bool,
) -> AuditCheck:
    kind = precision.value
    seen = f"products read {_by_type(census.gemms_by_type)}"
    convolutions = census.convolutions_by_type
    if convolutions:
        seen += f"; convolutions {_by_type(convolutions)}"
    if census.attentions_by_type:
        seen += f"; fused attentions {_by_type(census.attentions_by_type)}"
    hidden = census.opaque + census.gemms_by_type.get("unknown", 0)
    allowed = fp32_products or 0
    if not strongly_typed:
        # Those in hidden kernels are products too.
        allowed = max(allowed, max(linears or 0, census.gemms) // _STRAY_BY_FLAGS)
    judged = fp32_products is not None or not precision.quantized
    wrong = (_too_wide(census, precision, allowed) if judged else None) or _too_narrow(census, precision)
    if wrong:
        return AuditCheck("precision", "FAIL", f"{wrong}: {seen}")
    done = census.gemms_by_type.get(kind, 0) - census.attention_gemms_by_type.get(kind, 0)
    told = f"{done} linears read {kind.upper()}" + ("" if linears is None else f", {linears} were to") + f": {seen}"
    if not precision.quantized and not hidden and seen.startswith("products read none") and not convolutions:
        return AuditCheck("precision", "INFO", "the engine has no product or convolution to tell a precision by")
    least = (linears or 0) - (0 if strongly_typed else (linears or 0) // _STRAY_BY_FLAGS)
    enough = done >= max(1, least) if linears or precision.quantized else done or kind in convolutions
    if enough and precision.quantized and linears is None:
        return AuditCheck("precision", "INFO", f"{told}; how many were to is not known")
    if enough and (linears is not None or not hidden):
        return AuditCheck("precision", "PASS", told)
    if hidden:
        return AuditCheck("precision", "INFO", _unseen(census, told))
    return AuditCheck("precision", "FAIL", told if done or linears else f"nothing reads {kind.upper()}: {seen}")


def _too_wide(census: KernelCensus, precision: Precision, allowed: int) -> str | None:
    """Products in FP32 that nobody asked for, as the beginning of a sentence."""
    # A fused attention holds two products.
    attentions = 2 * census.attentions_by_type.get("fp32", 0)
    wide = census.gemms_by_type.get("fp32", 0) + census.convolutions_by_type.get("fp32", 0) + attentions
    if precision is Precision.FP32 or wide <= allowed:
        return None
    but = f", {allowed} of them allowed" if allowed else ""
    return f"{wide} products or convolutions are computed in FP32{but}, and {precision.value.upper()} was asked for"


def _too_narrow(census: KernelCensus, precision: Precision) -> str | None:
    """Products below FP32 in an FP32 engine, which is built to be compared with."""
    if precision is not Precision.FP32:
        return None
    attentions = [(kind, 2 * count) for kind, count in census.attentions_by_type.items()]
    counts = [*census.gemms_by_type.items(), *census.convolutions_by_type.items(), *attentions]
    narrow = sum(count for kind, count in counts if kind not in ("fp32", "unknown"))
    if narrow:
        return f"{narrow} products or convolutions are computed below FP32, which was asked for"
    if census.tf32_gemms:
        return f"{census.tf32_gemms} products or convolutions round FP32 to TF32, which keeps 10 bits of the fraction"
    return None


def _unseen(census: KernelCensus, seen: str) -> str:
    unnamed = census.by_type.get("unnamed", 0)
    if unnamed:
        why = f"{unnamed} layers are listed by name only"
        do = "; build with ProfilingVerbosity.DETAILED to see their types"
    elif census.opaque:
        why, do = f"{census.opaque} fused regions hide their kernels", ""
    else:
        why, do = "the listing does not say what the products read", ""
    return f"cannot be told, {why}{do}; {seen}"


def _attention(census: KernelCensus, attentions: int | None) -> AuditCheck:
    fused = census.fused_attentions
    of = "" if attentions is None else f" of {attentions}"
    seen = f"{fused}{of} attentions are one kernel"
    if census.unfused:
        more = len(census.unfused) - _SHOWN
        names = ", ".join(census.unfused[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        return AuditCheck("attention", "INFO", f"{seen}; taken apart: {names}")
    if attentions == 0:
        return AuditCheck("attention", "INFO", f"{fused} attentions are one kernel; the graph has none to fuse")
    if attentions is not None and fused >= attentions:
        return AuditCheck("attention", "PASS", seen)
    if census.opaque:
        return AuditCheck("attention", "INFO", f"{seen} by name; {census.opaque} layers hide what they hold")
    if attentions is None:
        return AuditCheck("attention", "INFO", f"{seen}; how many the graph has is not known")
    return AuditCheck("attention", "INFO", f"{seen}; {attentions - fused} were taken apart")


def _movement(census: KernelCensus) -> AuditCheck:
    moving = census.reformats + census.casts
    share = f"{100 * moving / census.kernels:.0f} % of the kernels" if census.kernels else "no kernels"
    detail = (
        f"{census.reformats} kernels only copy, {census.casts} only change a type ({share}); {census.shapes} shape "
        "operations"
    )
    return AuditCheck("movement", "INFO", detail)


def _by_type(counts: Mapping[str, int]) -> str:
    shown = [f"{counts[kind]} {kind.upper() if kind != 'unknown' else kind}" for kind in TYPES if counts.get(kind)]
    return ", ".join(shown) or "none"
