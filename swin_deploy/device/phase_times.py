"""What one batch takes on a GPU, phase by phase."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PhaseTimes"]


@dataclass(frozen=True)
class PhaseTimes:
    """GPU time of one batch in milliseconds, by CUDA events.

    Attributes:
        copy_in: Images from pinned host memory to the device.
        compute: The engine alone.
        copy_out: Outputs back to the host.
    """

    copy_in: float
    compute: float
    copy_out: float
