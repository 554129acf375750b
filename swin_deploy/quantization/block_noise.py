"""Quantization noise along the network: how far each block's output is from the float graph's.

The ratio is cumulative: a block's output carries the noise of all blocks before it. Damage begins where most noise
enters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from swin_deploy.device.distances import EXACT_DB

__all__ = ["BlockNoise", "most_noise", "ratio_db"]

# A ratio of powers in float64 has no more than this, and JSON no infinity.
_LIMIT_DB = EXACT_DB - 1


class BlockNoise:
    """Adds up the powers of signal and noise of each block over batches, in memory that does not grow with them."""

    def __init__(self) -> None:
        self._signal: dict[str, float] = {}
        self._noise: dict[str, float] = {}

    def update(
        self, candidate: Mapping[str, npt.NDArray[np.float32]], reference: Mapping[str, npt.NDArray[np.float32]]
    ) -> None:
        """Take in the blocks' outputs on the same images, each [images, ...], by block."""
        for block, wanted in reference.items():
            assert candidate[block].shape == wanted.shape, f"{block} has another shape in the quantized graph"
            for seen, right in zip(candidate[block], wanted, strict=True):  # one by one: float64 takes twice the room
                wide = right.astype(np.float64)
                self._signal[block] = self._signal.get(block, 0.0) + float(np.sum(wide**2))
                self._noise[block] = self._noise.get(block, 0.0) + float(np.sum((seen - wide) ** 2))

    def sqnr_db(self) -> dict[str, float]:
        """Signal-to-quantization-noise ratio of each block, in dB, in the order they came."""
        return {block: ratio_db(self._signal[block], self._noise[block]) for block in self._signal}


def ratio_db(signal: float, noise: float) -> float:
    """The ratio of two powers in dB: `EXACT_DB` without noise, -`EXACT_DB` where either is not finite."""
    if not (math.isfinite(signal) and math.isfinite(noise)):
        return -EXACT_DB
    if noise <= 0:
        return EXACT_DB
    return -_LIMIT_DB if signal <= 0 else min(max(10 * math.log10(signal / noise), -_LIMIT_DB), _LIMIT_DB)


def most_noise(blocks: Mapping[str, float]) -> tuple[str, float, float] | None:
    """Where most noise enters: the block, the ratio before it and behind it, in dB; `None` without blocks.

    Noise is counted against the signal of its own place, and so what a block adds is the growth of that quotient.
    Before the first block there is none, and the ratio `EXACT_DB`.
    """
    worst, most, before = None, -1.0, EXACT_DB
    for block, behind in blocks.items():
        added = 10 ** (-behind / 10) - 10 ** (-before / 10)
        if added > most:
            worst, most = (block, before, behind), added
        before = behind
    return worst
