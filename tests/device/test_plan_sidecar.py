"""The side-car is checked before the plan, and every way it can be wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swin_deploy.atomic import file_sha256
from swin_deploy.device.plan_sidecar import PlanSidecar, read_sidecar, sidecar_path
from swin_deploy.errors import BadInput


def _plan(folder: Path, **changes: Any) -> Path:
    plan = folder / "fp16.rtx.plan"
    plan.write_bytes(b"plan")
    facts = PlanSidecar("tensorrt_rtx", "1.7", ("8.6",), (1, 8, 32), "0" * 64, file_sha256(plan)).facts()
    sidecar_path(plan).write_text(json.dumps({**facts, **changes}))
    return plan


def test_a_side_car_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    sidecar = read_sidecar(_plan(tmp_path), check_hash=True)
    assert sidecar.targets == ("8.6",)
    assert sidecar.batch == (1, 8, 32)
    assert PlanSidecar.from_facts(sidecar.facts(), source="x") == sidecar


def test_the_side_car_lies_beside_the_plan_under_its_full_name() -> None:
    assert sidecar_path(Path("run/a.rtx.plan")) == Path("run/a.rtx.plan.json")


def test_a_plan_that_was_changed_is_refused_only_when_its_hash_is_asked_for(tmp_path: Path) -> None:
    plan = _plan(tmp_path)
    plan.write_bytes(b"Plan")
    read_sidecar(plan, check_hash=False)
    with pytest.raises(BadInput, match="damaged or was exchanged"):
        read_sidecar(plan, check_hash=True)


@pytest.mark.parametrize(
    "changes", [{"schema": 2}, {"batch": [1, 8]}, {"batch": None}, {"targets": 86}, {"version": 1}, {"targets": [8.6]}]
)
def test_a_garbled_field_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"fp16\.rtx\.plan\.json"):
        read_sidecar(_plan(tmp_path, **changes), check_hash=False)


@pytest.mark.parametrize("text", ["", "[]", "{", "{}"])
def test_a_side_car_that_is_no_side_car_is_refused(text: str, tmp_path: Path) -> None:
    plan = _plan(tmp_path)
    sidecar_path(plan).write_text(text)
    with pytest.raises(BadInput):
        read_sidecar(plan, check_hash=False)


def test_a_missing_plan_or_side_car_is_named(tmp_path: Path) -> None:
    plan = _plan(tmp_path)
    sidecar_path(plan).unlink()
    with pytest.raises(BadInput, match="Keep both files together"):
        read_sidecar(plan, check_hash=False)
    with pytest.raises(BadInput, match="does not exist"):
        read_sidecar(tmp_path / "none.plan", check_hash=False)
