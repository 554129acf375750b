"""Put a finished plan where a Triton Inference Server looks for it: `<model>/1/model.plan`."""

from __future__ import annotations

import shutil
from pathlib import Path

from swin_deploy.atomic import disk_faults, replacing

__all__ = ["PLAN", "place_plan", "remove_plan"]

PLAN = "1/model.plan"


def place_plan(plan: Path, model: Path) -> None:
    """Copy `plan` into the folder of a Triton model.

    Raises:
        EnvironmentFault: the disk refuses.
    """
    with replacing(model / PLAN) as temporary:
        shutil.copyfile(str(plan), str(temporary))


def remove_plan(model: Path) -> None:
    """Take away a plan of an earlier call, so that none stands there that is not proven."""
    with disk_faults(model / PLAN):
        (model / PLAN).unlink(missing_ok=True)
