"""A run's folder with files that no runtime could open, and the sessions that stand in for those runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from swin_deploy.atomic import file_sha256
from swin_deploy.device.phase_times import PhaseTimes
from swin_deploy.manifest import StepRecord, write_manifest
from tests.report.example_run import example_run

__all__ = ["FakeSession", "run_folder"]


class FakeSession:
    """Notes the shapes it was called with; told phases, it tells them."""

    def __init__(self, phases: PhaseTimes | None = None, fails_at: int | None = None) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.fails_at = fails_at
        if phases is not None:
            self.timed = lambda images: (self.infer(images), phases)

    def infer(self, images: np.ndarray) -> dict[str, Any]:
        self.shapes.append(images.shape)
        if len(images) == self.fails_at:
            raise RuntimeError("no kernel for this\nand a second line")
        return {}

    def device_bytes(self) -> int:
        return 1234

    def close(self) -> None: ...

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *_: object) -> None: ...


def run_folder(
    folder: Path, files: Sequence[tuple[str, str, str]], *, size: int = 64, channels: int = 3
) -> tuple[Path, ...]:
    """A finished run of `files`, each a name, a format and a precision; returns their paths."""
    folder.mkdir()
    records = []
    for name, format_, precision in files:
        (folder / name).write_bytes(b"nothing")
        digest = file_sha256(folder / name)
        records.append(
            StepRecord(name.split(".")[0], "made", "parent", {}, {}, "key", name, format_, precision, sha256=digest)
        )
    manifest = example_run()
    evaluation = {**manifest.evaluation, "preprocess": {"height": size, "width": size, "channels": channels}}
    write_manifest(replace(manifest, steps=tuple(records), evaluation=evaluation), folder)
    return tuple(folder / name for name, _, _ in files)
