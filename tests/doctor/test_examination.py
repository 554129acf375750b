"""The whole: machine and checkpoint, as lines, as JSON, and as an exit status."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cli.main import status_of
from swin_deploy.doctor.examination import Request, examine
from swin_deploy.doctor.line import Verdict
from tests.doctor.test_machine_lines import GOOD

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "cifar10" / "swin_v1_cifar10.safetensors"


def test_the_example_on_a_good_machine_is_fit_for_everything() -> None:
    found = examine(GOOD, Request(EXAMPLE, images=1))
    assert found.status == 0
    assert [line.check for line in found.lines if line.verdict is not Verdict.OK] == []
    checks = [line.check for line in found.lines]
    for check in ("python", "GPU", "memory to build", "memory to run", "disk", "architecture", "shift", "padding",
                  "FP16 attention", "INT8 attention", "FP16 range", "DLA"):  # fmt: skip
        assert check in checks
    assert json.loads(json.dumps(found.facts()))["schema_version"] == 1


def test_a_machine_with_too_little_memory_fails_with_3() -> None:
    found = examine(replace(GOOD, free_mib=300, gpu_free_mib=100), Request(EXAMPLE, images=1))
    assert found.status == 3
    assert [line.check for line in found.lines if line.verdict is Verdict.FAIL] == ["memory to build", "memory to run"]


def test_a_checkpoint_that_leaves_fp16_fails_with_5_and_names_the_layer(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(EXAMPLE)
    bias = "layers.1.blocks.3.mlp.fc2.bias"
    tensors[bias] = tensors[bias].float() + 1e5  # the file is in FP16, which cannot hold it
    save_file(tensors, tmp_path / "large.safetensors")
    shutil.copy(EXAMPLE.with_suffix(".json"), tmp_path / "large.json")
    found = examine(GOOD, Request(tmp_path / "large.safetensors", images=1))
    assert found.status == 5
    # The fourth block of the second stage is the sixth of all.
    range_, weights = (line.seen for line in found.lines if line.verdict is Verdict.FAIL)
    assert "first 1e+05 in blocks.5.mlp.2 (linear)" in range_
    assert "blocks.5.mlp.2.bias" in weights


def test_a_checkpoint_that_cannot_be_read_is_a_line_beside_the_machine_s(tmp_path: Path) -> None:
    (tmp_path / "none.safetensors").write_bytes(b"nothing")
    found = examine(GOOD, Request(tmp_path / "none.safetensors"))
    assert found.status == 5 and len(found.lines) > 5
    assert found.lines[-1].verdict is Verdict.FAIL


def test_the_machine_alone_is_examined_without_torch_s_help() -> None:
    found = examine(GOOD, Request())
    assert found.status == 0 and {line.about for line in found.lines} == {"machine"}


def test_the_command_prints_a_line_a_finding_and_ends_with_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    status = status_of(["doctor", str(EXAMPLE), "--images", "1"])
    shown = capsys.readouterr().out
    assert re.search(r"^OK\s+FP16 range\s+activations on 1 made-up images", shown, re.MULTILINE)
    assert re.search(r"^(OK|WARN)\s+GPU", shown, re.MULTILINE)
    assert (status == 3) == ("FAIL" in shown)


def test_the_command_s_json_is_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    status = status_of(["doctor", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["kind"] == "doctor" and facts["status"] == status
    assert {"about", "check", "verdict", "seen", "do"} == set(facts["lines"][0])


def test_real_images_are_taken_for_the_range(capsys: pytest.CaptureFixture[str]) -> None:
    data = ROOT / "examples" / "cifar10" / "eval.tar.xz"
    status_of(["doctor", str(EXAMPLE), "--data", str(data), "--images", "2"])
    assert "activations on 2 images of yours" in capsys.readouterr().out


def test_batches_out_of_order_are_a_usage_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["doctor", str(EXAMPLE), "--batch", "8,4,1"]) == 2


def test_options_of_a_checkpoint_without_one_are_a_usage_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["doctor", "--image-size", "224"]) == 2
    assert "without a checkpoint" in capsys.readouterr().err
