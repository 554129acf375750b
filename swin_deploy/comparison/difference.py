"""What two or more runs were made from, with and on, where that is not the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swin_deploy.comparison.compared_run import ComparedRun
from swin_deploy.manifest import Manifest
from swin_deploy.report.environment import tools_of

__all__ = ["MISSING", "Difference", "differences"]

MISSING = "-"
_IMAGES = ("kind", "source", "images", "labelled", "fingerprint", "preprocess")


@dataclass(frozen=True)
class Difference:
    """One thing that differs.

    Attributes:
        kind: `checkpoint`, `images`, `recipe`, `tools` or `machine`.
        name: What differs.
        values: As texts, one a run, in their order.
    """

    kind: str
    name: str
    values: tuple[str, ...]


def differences(runs: Sequence[ComparedRun]) -> tuple[Difference, ...]:
    """All of them, by kind."""
    found = [_of(run.manifest) for run in runs]
    return tuple(
        Difference(kind, name, values)
        for kind in found[0]
        for name in dict.fromkeys(name for facts in found for name in facts[kind])
        if len(set(values := tuple(_text(facts[kind].get(name)) for facts in found))) > 1
    )


def _of(manifest: Manifest) -> dict[str, Mapping[str, Any]]:
    return {
        "checkpoint": {name: manifest.checkpoint.get(name) for name in ("file", "sha256", "sidecar_sha256")},
        "images": {name: manifest.evaluation.get(name) for name in _IMAGES},
        "recipe": {**manifest.recipe, "target": manifest.target},
        "tools": tools_of(manifest),
        "machine": manifest.machine,
    }


def _text(value: object) -> str:
    if value is None:
        return MISSING
    return value if isinstance(value, str) else json.dumps(value)
