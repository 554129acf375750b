"""Every command of the README is run, and what it says of the product is what the product says of itself."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from swin_deploy.parity.gates import GATES, GateName

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Run by .ci/run itself, which would not come to an end if a test ran it; the last one needs a package index.
ELSEWHERE = {"make demo", "make test", "pip install '.[rtx]'"}


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


def test_every_command_is_a_swin_deploy_one_or_known_to_be_run_elsewhere() -> None:
    strangers = [line for line in commands() if not line.startswith("swin-deploy ") and line not in ELSEWHERE]
    assert not strangers
    assert set(commands()) >= ELSEWHERE
    ci = (ROOT / ".ci" / "run").read_text()
    assert "make test" in ci and "make demo" in ci


def test_the_commands_of_your_own_checkpoint_work_in_the_order_they_stand(tmp_path: Path) -> None:
    """As a user types them, in a folder that has the examples; in order, since each uses the last one's files."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    lines = [line for line in commands() if line.startswith("swin-deploy ")]
    assert len(lines) >= 5
    outputs = {}
    for line in lines:
        arguments = shlex.split(line)[1:]
        run = subprocess.run(
            [sys.executable, "-m", "swin_deploy", *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert run.returncode == 0, f"{line}\n{run.stdout}\n{run.stderr}"
        outputs[line] = run.stdout
    built = next(text for line, text in outputs.items() if line.startswith("swin-deploy build --fp16"))
    # The run without data: labelled as what it is, measured where it can be, never an accuracy.
    assert "64 SYNTHETIC images" in built and "NOT MEASURED" in built
    resumed = next(text for line, text in outputs.items() if "--resume" in line)
    assert resumed.splitlines()[1:-1] == built.splitlines()[1:-1]
    manifest = json.loads((tmp_path / "quick-run" / "manifest.json").read_text())
    assert manifest["status"] == 0
    assert manifest["evaluation"]["kind"] == "synthetic" and manifest["evaluation"]["images"] == 64
    files = {step["file"] for step in manifest["steps"]}
    assert {"fp16.onnx", "deployment.pt2", "deployment.fp16.safetensors"} <= files
    for text in (tmp_path / "quick-run").glob("*.onnx"):
        assert str(ROOT).encode() not in text.read_bytes()


def test_the_gates_it_names_are_the_gates_in_force() -> None:
    assert "FP32 100, FP16 60 (50 on an engine), BF16 35, INT8 and FP8 25" in README
    assert {name: gate.sqnr_db for name, gate in GATES.items()} == {
        GateName.FP32: 100,
        GateName.FP16_NUMERICS: 60,
        GateName.FP16_GRAPH: 60,
        GateName.FP16_ENGINE: 50,
        GateName.BF16: 35,
        GateName.INT8: 25,
        GateName.FP8: 25,
    }


def test_its_options_exist() -> None:
    from cli.build import command

    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    named = set(re.findall(r"`(--[a-z0-9-]+)", README))
    assert named <= known, named - known


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "docs/one_image.md",
        "docs/checkpoints.md",
        "docs/attention.md",
        "docs/variants.md",
        "docs/zoo.md",
        "tests/golden/README.md",
        "examples/cifar10/README.md",
    ],
)
def test_relative_links_and_named_files_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (ROOT / document).parent.joinpath(target).exists(), target
    for path in re.findall(r"`((?:swin_deploy|calib|cli|tests|examples)/[\w/.]+\.py)`", text):
        assert (ROOT / path).exists(), path
