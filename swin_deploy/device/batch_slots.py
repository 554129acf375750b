"""Whether each slot of a batch answers for its own image.

A ratio over all images hides a mix-up where the images' outputs are much alike. So each output is also compared with
the oracle's outputs of the other images: nearer to another one than to its own, and the slots are mixed up.
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
_SHOWN = 4


def judge_slots(outputs: Mapping[int, Arrays], oracle: Arrays, noise_db: float) -> Judgement:
    """Judge the outputs at each batch size.

    Two images whose outputs the gate's own noise could take for each other tell nothing, and are left out: where all
    the noise that the gate allows lies in one image, and the images are no farther apart than twice that.

    Args:
        outputs: Batch size to outputs by name, each [images, ...], in the images' order.
        oracle: The oracle's outputs by name, likewise.
        noise_db: The ratio that the gate asks for.
    """
    wanted = _rows(oracle)  # [images, numbers]
    power = np.sum(wanted**2)
    allowed = np.sqrt(power * 10.0 ** (-noise_db / 10.0))
    apart = _distances(wanted, wanted) > 2 * allowed  # [images, images]
    if not apart.any():
        return Judgement("slots", Verdict.INFO, "the images' outputs are too much alike to tell slots by")
    mixed = []
    for batch, found in outputs.items():
        rows = _rows(found)
        if not np.isfinite(rows).all():
            continue  # the check of finite numbers says so
        seen = _distances(rows, wanted)  # [images, images]
        nearer = apart & (seen < np.diag(seen)[:, None])
        for place in np.flatnonzero(nearer.any(axis=1)):
            other = int(np.argmin(np.where(nearer[place], seen[place], np.inf)))
            mixed.append(f"slot {place % batch} of batch {batch} shows image {other} instead of {place}")
    if mixed:
        more = f" and {len(mixed) - _SHOWN} more" if len(mixed) > _SHOWN else ""
        return Judgement("slots", Verdict.FAIL, "; ".join(mixed[:_SHOWN]) + more)
    told = int(apart.any(axis=1).sum())
    return Judgement("slots", Verdict.PASS, f"each slot answers for its own image ({told} images can be told apart)")


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
