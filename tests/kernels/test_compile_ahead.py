"""Kernels are compiled side by side for a GPU that is only imitated, and nothing is launched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from swin_deploy.kernels.compile_ahead import compiled_together

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import json
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

class Imitation:
    get_current_device = lambda self: 0
    get_current_stream = lambda self, device: 0
    get_current_target = lambda self: GPUTarget("cuda", 90, 32)

driver.set_active(Imitation())  # what it lacks to launch would raise
from swin_deploy.kernels.add_norm import add_norm
from swin_deploy.kernels.compile_ahead import CompilingRun, compiled_together
from swin_deploy.kernels.launch import Launch
from swin_deploy.kernels.triton_run import jit_kernel

class Wrong(CompilingRun):
    def launch(self, launch):  # what no kernel can be compiled with
        super().launch(Launch(**{**vars(launch), "constants": {**launch.constants, "BLOCK_ROWS": 3}}))

def work():
    for channels in (32, 64):
        arguments = torch.zeros(8, channels), torch.zeros(channels), torch.zeros(channels)
        out = add_norm(CompilingRun(), None, *arguments, eps=1e-5)
        add_norm(Wrong(), None, *arguments, eps=1e-5)
        shapes.append(list(out.shape))

shapes = []
done = compiled_together(work, 2)
found = [type(kernel).__name__ for kernel in jit_kernel("add_norm").device_caches[0][0].values()]
print(json.dumps({"done": done, "shapes": shapes, "found": sorted(found)}))
"""


def test_all_that_can_be_compiled_is_and_the_rest_waits_to_say_so(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout.splitlines()[-1]) == {
        "done": True,
        "shapes": [[8, 32], [8, 64]],
        "found": ["CompiledKernel", "CompiledKernel", "FutureKernel", "FutureKernel"],
    }


def test_a_triton_that_cannot_leaves_the_work_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton.runtime._async_compile", None)
    assert compiled_together(lambda: pytest.fail("carried out"), 2) is False
