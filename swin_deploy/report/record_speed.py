"""Write the times of a run's engines into its manifest, and renew what the run recommends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from swin_deploy.benchmark.result import Benchmark
from swin_deploy.errors import UsageFault
from swin_deploy.manifest import Manifest, read_manifest, write_manifest
from swin_deploy.report.plan_figures import recommendation
from swin_deploy.report.write import write_report

__all__ = ["record_speed"]


def record_speed(artifacts: Sequence[Path], results: Benchmark) -> Manifest:
    """Add `results` to the run whose folder holds all of `artifacts`.

    Returns:
        The manifest as written, with its recommendation renewed.

    Raises:
        UsageFault: the artifacts lie in several folders.
        BadInput: their folder holds no manifest.
    """
    folders = {artifact.parent for artifact in artifacts}
    if len(folders) != 1:
        raise UsageFault("--record with artifacts of several folders", needed="files of one run")
    (folder,) = folders
    manifest = replace(read_manifest(folder), speed=results.to_json())
    manifest = replace(manifest, recommendation=recommendation(manifest))
    write_manifest(manifest, folder)
    write_report(manifest, folder)
    return manifest
