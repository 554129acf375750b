"""Whether each slot of a batch answers for its own image.

A ratio over all images hides a mix-up where the images' outputs are much alike: what the gate allows is more than they
are apart. An engine is much closer to itself, and alone in a batch an image cannot be mixed up. So each output is also
compared with what the engine answers to single images: nearer to another image's than to its own, and the slots are
mixed up. The same against the oracle names the slots of a mix-up that the ratio shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from swin_deploy.device.closeness import Judgement, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Arrays = Mapping[str, npt.NDArray[np.float32]]

__all__ = ["judge_slots"]

# Of an image's outputs so many numbers, evenly spaced: feature maps have millions, and a mix-up shows in any part.
_COMPARED = 4096
# An engine's rounding is nearly the same at every batch size: it is taken to differ from itself by so much less than
# from the oracle.
_OWN_DB = 15.0
_SHOWN = 4


def judge_slots(outputs: Mapping[int, Arrays], oracle: Arrays, noise_db: float) -> Judgement:
    """Judge the outputs at each batch size.

    Two images whose outputs noise could take for each other tell nothing, and are left out: those no farther apart
    than twice the noise. Against the oracle that is all that the gate allows, in one image; against the engine's own
    answers to single images `_OWN_DB` less than the gate, of the image.

    Args:
        outputs: Batch size to outputs by name, each [images, ...], in the images' order.
        oracle: The oracle's outputs by name, likewise.
        noise_db: The ratio that the gate asks for.
    """
    rows = {batch: _rows(found) for batch, found in outputs.items()}
    # What is not finite the check of that says.
    rows = {batch: found for batch, found in rows.items() if np.isfinite(found).all()}
    wanted = _rows(oracle)  # [images, numbers]
    allowed = np.sqrt(np.sum(wanted**2) * 10.0 ** (-noise_db / 10.0))
    told = np.zeros(len(wanted), bool)
    mixed = {}
    for batch, found in rows.items():
        comparisons = [(wanted, np.full(len(wanted), allowed))]
        if batch > 1 and 1 in rows:
            own = np.linalg.norm(rows[1], axis=1) * 10.0 ** (-(noise_db + _OWN_DB) / 20.0)
            comparisons.append((rows[1], own))
        for known, noise in comparisons:
            apart = _distances(known, known) > 2 * np.maximum(noise[:, None], noise)  # [images, images]
            seen = _distances(found, known)  # [images, images]
            nearer = apart & (seen < np.diag(seen)[:, None])
            told |= apart.any(axis=1)
            for place in np.flatnonzero(nearer.any(axis=1)):
                other = int(np.argmin(np.where(nearer[place], seen[place], np.inf)))
                mixed[batch, place] = f"slot {place % batch} of batch {batch} shows image {other} instead of {place}"
    if mixed:
        more = f" and {len(mixed) - _SHOWN} more" if len(mixed) > _SHOWN else ""
        return Judgement("slots", Verdict.FAIL, "; ".join(list(mixed.values())[:_SHOWN]) + more)
    if not told.any():
        seen_alike = "the images' outputs are too much alike to tell slots, or an engine that ignores its images, by"
        return Judgement("slots", Verdict.INCONCLUSIVE, seen_alike)
    detail = f"each slot answers for its own image ({int(told.sum())} images can be told apart)"
    return Judgement("slots", Verdict.PASS, detail)


def _rows(outputs: Arrays) -> npt.NDArray[np.float64]:
    """Outputs side by side, thinned out: [images, numbers]."""
    parts = []
    for values in outputs.values():
        flat = values.reshape(len(values), -1)  # [images, numbers of one output]
        parts.append(flat[:, :: max(1, flat.shape[1] // _COMPARED)].astype(np.float64))
    return np.concatenate(parts, axis=1)


def _distances(rows: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Euclidean, [rows, others]."""
    return np.stack([np.sqrt(np.sum((others - row) ** 2, axis=1)) for row in rows])
