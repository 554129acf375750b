"""For a GPU the fused form becomes launches of kernels in what PyTorch compiles, and nothing of ours is called back.

Without a GPU this is seen up to Inductor's code; that a package runs on one is not executed here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
OUTPUTS = {"quantize_rows_kernel": ["values", "steps"]}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", str(ROOT / "tests" / "kernels" / "embedding_child.py")]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr[-4000:]
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


CASES = ("v1", "v2", "padded", "int8", "fp8")
# Sizes and views cost nothing; what an odd map and a padded one need, they need anywhere.
FREE = ("aten.view", "aten.reshape", "aten.sym_size", "aten._assert", "<built-in function", "aten.new_empty", "prims.")


@pytest.mark.parametrize("name", CASES)
def test_the_exported_graph_is_operators_of_ours_and_reshapes(found: dict[str, Any], name: str) -> None:
    ours = {op: count for op, count in found[name]["exported"].items() if op.startswith("swin_deploy.")}
    assert sum(ours.values()) >= 7, ours
    rest = {op for op in found[name]["exported"] if op not in ours and not op.startswith(FREE)}
    gathers = {"aten.index_select.default", "aten.where.self", "aten.where.ScalarOther", "aten.scalar_tensor.default"}
    assert rest <= {"aten.to.dtype"} | (gathers if name == "padded" else set()), rest


@pytest.mark.parametrize("name", CASES)
def test_taken_apart_each_operator_is_a_launch_and_none_is_left(found: dict[str, Any], name: str) -> None:
    exported, launches = found[name]["exported"], found[name]["launches"]
    wanted = Counter({op.split(".")[1]: count for op, count in exported.items() if op.startswith("swin_deploy.")})
    assert Counter(kernel.removesuffix("_kernel") for kernel, _ in launches) == wanted
    assert not any(op.startswith("swin_deploy") for op in found[name]["operators"])


def test_an_operator_that_would_be_called_back_stays_in_the_graph(found: dict[str, Any]) -> None:
    assert "tests.opaque.default" in found["control"]


@pytest.mark.parametrize("name", CASES)
def test_pytorch_sees_that_a_kernel_writes_its_output_alone(found: dict[str, Any], name: str) -> None:
    # Whatever else it took for written, it would copy before every launch.
    for kernel, written in found[name]["launches"]:
        assert written == OUTPUTS.get(kernel, ["out"]), kernel


def test_all_kernels_are_seen(found: dict[str, Any]) -> None:
    kernels = {kernel for name in CASES for kernel, _ in found[name]["launches"]}
    there = {path.stem for path in (ROOT / "swin_deploy" / "kernels" / "triton").glob("*.py")}
    operators = {kernel.removesuffix("_kernel") for kernel in kernels}
    assert operators <= there
    assert len(operators) == 8, operators


def test_inductors_code_holds_the_kernels_and_launches_them(found: dict[str, Any]) -> None:
    code = found["v1"]["code"]
    launched = re.findall(r"^\s+(\w+_kernel)_\d+\.run\(", code, re.MULTILINE)
    assert Counter(launched) == Counter(kernel for kernel, _ in found["v1"]["launches"])
    for kernel in set(launched):
        assert f"def {kernel}(" in code
    assert not re.search(r"^\s*(import|from) swin_deploy", code, re.MULTILINE)
    assert "torch.ops.swin_deploy" not in code
    # Between them is nothing but the conversion of the logits to FP32: no copy, no permutation, no library product.
    others = re.findall(
        r"^\s+(triton_\w+|extern_kernels\.\w+|aten\.\w+)\(?.*\(", code.split("def call(")[1], re.MULTILINE
    )
    assert len(others) <= 1, others
