"""Lets Torch-TensorRT convert on a machine with no GPU. Tests only, and only in a process of their own.

torch_tensorrt asks torch.cuda for a device while it is imported and while it converts, although building an engine
with TensorRT for RTX needs none. Its RTX build then deserialises what it built, which does need a GPU; that step is
replaced by an object that hands the bytes back. Nothing else is touched: export, lowering, partition, converters and
TensorRT's builder are the real ones. Since torch_tensorrt also installs an alias for the module `tensorrt`, and
cannot be unloaded, a test runs its code with `run_with_fakes` in a child process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MARK = "RESULT "


def install() -> None:
    """Fake the torch.cuda queries, import torch_tensorrt, and replace the engine's deserialisation."""
    import torch

    memory = 8 << 30
    replacements = {
        "device_count": lambda: 1,  # ours: is there a GPU to convert with?
        "current_device": lambda: 0,  # import: the default of CompilationSettings.device
        "get_device_capability": lambda device=None: (8, 6),  # import: is this a Jetson?
        "mem_get_info": lambda device=None: (memory, memory),  # conversion: warn if memory is short
    }
    for name, replacement in replacements.items():
        setattr(torch.cuda, name, replacement)

    import torch_tensorrt  # noqa: F401 - installs the alias `tensorrt`
    from torch_tensorrt.dynamo.conversion import _TRTInterpreter as interpreter

    interpreter.trt.Runtime = _Runtime


class _Runtime:
    def __init__(self, logger: Any) -> None:
        pass

    def deserialize_cuda_engine(self, serialized: Any) -> _Engine:
        return _Engine(serialized)


class _Engine:
    def __init__(self, serialized: Any) -> None:
        self._serialized = serialized

    def serialize(self) -> Any:
        return self._serialized

    def get_aliased_input_tensor(self, name: str) -> None:
        return None


def record_profiles() -> list[tuple[tuple[int, ...], ...]]:
    """From now on note the (smallest, usual, largest) shapes that the builder is given; call after `install`."""
    from torch_tensorrt.dynamo.conversion._TRTInterpreter import TRTInterpreter

    seen: list[tuple[tuple[int, ...], ...]] = []
    populate = TRTInterpreter._populate_trt_builder_config

    def noting(self: Any, *args: Any, **kwargs: Any) -> Any:
        for profile in self.optimization_profiles or []:
            for name in self._input_names:
                seen.append(tuple(tuple(shape) for shape in profile.get_shape(name)))
        return populate(self, *args, **kwargs)

    TRTInterpreter._populate_trt_builder_config = noting
    return seen


def run_with_fakes(code: str, *, fakes: bool = True) -> Any:
    """Run `code` in a child process with the fakes installed; it calls `report(value)` once, with JSON-ready data."""
    prelude = f"""
        import json, sys
        sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
        import torch
        torch.set_num_threads(1)
        import torch_cuda_fakes
        if {fakes!r}:
            torch_cuda_fakes.install()
        def report(value):
            print({MARK!r} + json.dumps(value), flush=True)
    """
    script = textwrap.dedent(prelude) + textwrap.dedent(code)
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    results = [line for line in child.stdout.splitlines() if line.startswith(MARK)]
    if child.returncode or not results:
        raise AssertionError(f"the child process failed:\n{child.stdout[-2000:]}\n{child.stderr[-6000:]}")
    extra = [line for line in child.stdout.splitlines() if not line.startswith(MARK)]
    assert not extra, f"the conversion printed to stdout: {extra[:5]}"
    return json.loads(results[-1][len(MARK) :])
