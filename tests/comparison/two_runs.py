"""Two small runs on the disk, with outputs and labels: what one network decides, and what the other does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swin_deploy.manifest import Manifest, write_manifest
from swin_deploy.parity.measure import Outputs
from swin_deploy.parity.stored_outputs import write_outputs
from swin_deploy.parity.truth import FILE_NAME
from tests.report.full_run import full_run

IMAGES = 40
LABELS = np.arange(IMAGES) % 2


def logits(wrong: Sequence[int]) -> npt.NDArray[np.float32]:
    """Of two classes, right for every image but those named."""
    decided = LABELS.copy()
    decided[list(wrong)] = 1 - decided[list(wrong)]
    return np.eye(2, dtype=np.float32)[decided]


def write_run(folder: Path, wrong: Sequence[int] = (), *, truth: bool = True, **changes: Any) -> Manifest:
    """A run whose FP16 graph is wrong about some images."""
    made = full_run()
    slot = "outputs/fp16.graph.npz"
    step = replace(made.steps[3], rows=(replace(made.steps[3].rows[0], outputs=slot, key="key of fp16"),))
    manifest = replace(made, steps=(*made.steps[:3], step, *made.steps[4:]), **changes)
    folder.mkdir(parents=True)
    write_manifest(manifest, folder)
    write_outputs(folder / slot, "key of fp16", Outputs({8: {"logits": logits(wrong)}}, 8, 1.0))
    if truth:
        fingerprint = np.array(manifest.evaluation["fingerprint"])
        np.savez(folder / "outputs" / FILE_NAME, fingerprint=fingerprint, labels=LABELS)
    return manifest
