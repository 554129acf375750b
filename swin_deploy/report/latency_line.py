"""One line of a benchmark: an artifact, timed at one batch on one device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LatencyLine", "line_of"]

_QUANTILES = 101


@dataclass(frozen=True)
class LatencyLine:
    """One artifact at one batch on one device. Times are milliseconds a call.

    Attributes:
        device: Where it was measured.
        artifact: The file's name, without its folder.
        backend: What executed it.
        batch: Images a call.
        precision: As the benchmark said; empty where it did not.
        cuda_graph: Whether calls were replayed as one CUDA graph.
        p50_ms: Median.
        p90_ms: 90th percentile.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile.
        variation: Standard deviation over mean.
        images_per_second: Throughput.
        ratio: Median over rounds of the first artifact's time over this one's; `None` where nothing was compared.
        ratio_low: Lower quartile of the same.
        ratio_high: Upper quartile of the same.
        quantiles_ms: The 0th to 100th percentile; empty where only the four above were kept.
        phases_ms: Copy in, compute and copy out; `None` where the backend does not tell them apart.
        device_mib: Memory on the device.
        roofline_share: 0 to 1, what the device's ceilings would allow over what was measured.
        joules_per_image: Energy; `None` where nothing tells the power.
    """

    device: str
    artifact: str
    backend: str
    batch: int
    precision: str
    cuda_graph: bool
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    variation: float
    images_per_second: float
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    quantiles_ms: tuple[float, ...]
    phases_ms: tuple[float, float, float] | None
    device_mib: float | None
    roofline_share: float | None
    joules_per_image: float | None

    @property
    def name(self) -> str:
        """The artifact, and whether a CUDA graph replayed it."""
        return f"{self.artifact}, CUDA graph" if self.cuda_graph else self.artifact


def line_of(device: str, raw: Mapping[str, Any]) -> LatencyLine:
    """Read a line of a benchmark, see `swin_deploy.benchmark`; what an older one did not keep stays open.

    Raises:
        KeyError: an entry that every benchmark keeps is missing.
        TypeError: an entry is of another kind.
        ValueError: likewise.
    """
    quantiles = tuple(map(float, raw.get("quantiles_ms") or ()))
    phases = [raw.get(key) for key in ("copy_in_ms", "compute_ms", "copy_out_ms")]
    known = [float(phase) for phase in phases if phase is not None]
    used = raw.get("device_bytes")
    return LatencyLine(
        device=device,
        artifact=str(raw["artifact"]).rpartition("/")[2],
        backend=str(raw["backend"]),
        batch=int(raw["batch"]),
        precision=str(raw.get("precision") or ""),
        cuda_graph=bool(raw.get("cuda_graph")),
        p50_ms=float(raw["p50_ms"]),
        p90_ms=float(raw["p90_ms"]),
        p95_ms=float(raw["p95_ms"]),
        p99_ms=float(raw["p99_ms"]),
        variation=float(raw["variation"]),
        images_per_second=float(raw["images_per_second"]),
        ratio=_optional(raw.get("ratio")),
        ratio_low=_optional(raw.get("ratio_low")),
        ratio_high=_optional(raw.get("ratio_high")),
        quantiles_ms=quantiles if len(quantiles) == _QUANTILES else (),
        phases_ms=(known[0], known[1], known[2]) if len(known) == len(phases) else None,
        device_mib=None if used is None else float(used) / 2**20,
        roofline_share=_optional(raw.get("roofline_share")),
        joules_per_image=_optional(raw.get("joules_per_image")),
    )


def _optional(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
