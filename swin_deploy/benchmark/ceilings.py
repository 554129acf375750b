"""Measure what a device does at most: its copy bandwidth and the fastest matrix product of each precision.

On a CPU both PyTorch and ONNX Runtime are asked and the faster one counts: their libraries differ by a factor of two on
some processors, and a ceiling below what a contestant reaches would be none.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.benchmark.roofline import Ceilings
from swin_deploy.torch_versions import exact_fp32, fp8_product, int8_product

__all__ = ["best_seconds", "measured_ceilings"]

_SIDES = (256, 512, 1024, 2048, 4096, 8192)
_LEAST_CALLS, _LEAST_SECONDS = 5, 0.3
_LONG_ENOUGH = 0.02  # seconds of a product beyond which a larger matrix is not faster
_COPY_BYTES = {"cpu": 2**28, "cuda": 2**29}  # beyond any cache


def measured_ceilings(device: str, name: str, precisions: Iterable[str], threads: int) -> Ceilings:
    """Measure, which takes a second or two.

    Args:
        device: `cpu` or `cuda`.
        name: What to call it.
        precisions: Those that are needed; one that PyTorch has no product of stays unknown.
        threads: CPU threads.
    """
    exact_fp32()
    rates = {}
    for precision in sorted(set(precisions)):
        found = [_torch_rate(device, precision)]
        if device == "cpu" and precision == "fp32":
            found.append(_onnxruntime_rate(threads))
        known = [rate for rate in found if rate is not None]
        if known:
            rates[precision] = max(known)
    return Ceilings(name, "measured", _bandwidth(device), rates)


def best_seconds(
    call: Callable[[], object], wait: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> float:
    """The shortest of some calls, after one that does not count.

    Args:
        call: What is timed.
        wait: Returns when what `call` began is done.
        clock: Seconds, rising.
    """
    call()
    wait()
    times: list[float] = []
    # For a while, and not only some times: another program may hold the machine for a moment.
    while len(times) < _LEAST_CALLS or sum(times) < _LEAST_SECONDS:
        before = clock()
        call()
        wait()
        times.append(clock() - before)
    return min(times)


def _bandwidth(device: str) -> float:
    import torch

    source = torch.zeros(_COPY_BYTES[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return (
        2 * source.numel() / best_seconds(lambda: target.copy_(source), _wait(device))
    )  # each byte is read and written


def _torch_rate(device: str, precision: str) -> float | None:
    """Operations a second of the best square product, `None` where PyTorch has none."""
    import torch

    types = {
        **{"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16},
        **{"int8": torch.int8, "fp8": torch.float8_e4m3fn},
    }
    if precision not in types or (precision == "fp8" and device == "cpu"):  # a CPU widens it and counts for nothing
        return None
    multiply: Callable[[Any, Any], Any] = {"int8": int8_product, "fp8": fp8_product}.get(precision, torch.mm)
    spread = 40 if precision == "int8" else 1
    best = 0.0
    for transposed in _layouts(precision, device):
        for side in _SIDES:
            # Of different values: on ones a GPU's multipliers switch less, and it clocks higher than it ever does.
            left, right = ((spread * torch.randn(side, side, device=device)).to(types[precision]) for _ in range(2))
            try:
                seconds = best_seconds(partial(multiply, left, right.t() if transposed else right), _wait(device))
            except (RuntimeError, AttributeError):  # no such product in this build of PyTorch
                break
            best = max(best, 2 * side**3 / seconds)
            if seconds > _LONG_ENOUGH:
                break
    return best or None


def _layouts(precision: str, device: str) -> tuple[bool, ...]:
    """Whether the weights lie transposed, as a linear's do.

    On a CPU half precision is several times faster so, and INT8 is not; on a GPU FP8 is multiplied in no other way.
    """
    if precision == "fp8":
        return (True,)
    return (False,) if precision == "int8" and device == "cpu" else (False, True)


def _onnxruntime_rate(threads: int, side: int = 1024) -> float:
    import numpy as np
    import onnx

    ones = np.ones((side, side), np.float32)
    shape = [side, side]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array(ones, "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    with tempfile.TemporaryDirectory(prefix="swin-deploy-bench-") as folder:
        path = Path(folder) / "product.onnx"
        onnx.save(model, path)
        with OnnxRuntime(threads=threads).open(Artifact("product", path, Format.ONNX, Precision.FP32)) as session:
            return 2 * side**3 / best_seconds(lambda: session.infer(ones), lambda: None)


def _wait(device: str) -> Callable[[], object]:
    import torch

    return torch.cuda.synchronize if device == "cuda" else lambda: None
