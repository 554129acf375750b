"""Child: NVIDIA Model Optimizer's INT8 quantization of ONNX, on the CPU. Imports nothing of swin-deploy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from benchmarks.peers.child import Job, Work, serve


def _prepare() -> tuple[Work, Mapping[str, str]]:
    import numpy as np
    import onnx
    import onnxruntime
    from modelopt import __version__
    from modelopt.onnx.quantization import quantize

    def work(job: Job) -> Mapping[str, Any]:
        images = np.load(job.calibration)  # [N, 3, H, W]
        assert images.size, "without data it would calibrate on random numbers"
        name = onnx.load(job.graph).graph.input[0].name
        settings = {
            "quantize_mode": "int8",
            "calibration_method": job.method,
            "calibration_eps": ["cpu"],
            # By default one image a step where the batch axis is free.
            "calibration_shapes": f"{name}:{'x'.join(map(str, (job.batch, *images.shape[1:])))}",
            "high_precision_dtype": "fp32",
        }
        quantize(
            job.graph,
            calibration_data={name: images},
            # Taken as patterns that a name has to begin with, so that `MatMul` would also mean `MatMul_1`.
            nodes_to_quantize=[f"{re.escape(matmul)}$" for matmul in job.matmuls],
            output_path=job.out,
            log_level="WARNING",
            **settings,
        )
        return settings

    versions = {
        "nvidia-modelopt": __version__,
        "onnxruntime-gpu": onnxruntime.__version__,
        "onnx": onnx.__version__,
        "numpy": np.__version__,
    }
    return work, versions


if __name__ == "__main__":
    serve(_prepare)
