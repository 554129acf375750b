"""Child: this toolkit's own quantization, with the range method and the tools that `Job.method` names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers.child import Job, Work, serve


def _prepare() -> tuple[Work, Mapping[str, str]]:
    import numpy as np
    import onnx

    from swin_deploy.backends.onnxruntime import tensors_of
    from swin_deploy.onnx_graph.input_groups import input_groups
    from swin_deploy.onnx_graph.linears import linears
    from swin_deploy.onnx_graph.quantization_audit import require_clean
    from swin_deploy.quantization.solve import Settings, observe, sample_inputs, solve
    from swin_deploy.versions import installed

    def work(job: Job) -> Mapping[str, Any]:
        method, _, tools = job.method.partition("+")
        settings = Settings(method=method, tools=tuple(tool for tool in tools.split("+") if tool))
        images = np.load(job.calibration)  # [N, 3, H, W]
        batches = [images[start : start + job.batch] for start in range(0, len(images), job.batch)]
        graph = Path(job.graph)
        model = onnx.load(graph)
        chosen = [linear for linear in linears(model) if model.graph.node[linear.node].name in job.matmuls]
        groups = input_groups(model, chosen)
        samples = sample_inputs(model, graph, groups, batches, len(images), settings.seed)
        observed = observe(tensors_of(graph, list(samples), batches), settings, len(images))
        quantized = solve(model, chosen, samples, settings, observed).quantized()
        require_clean(quantized, [linear.module for linear in chosen])
        onnx.save(quantized, job.out)
        return {"tools": list(settings.tools)}

    return work, installed("onnx", "onnxruntime", "numpy")


if __name__ == "__main__":
    serve(_prepare)
