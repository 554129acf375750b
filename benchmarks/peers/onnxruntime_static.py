"""Child: ONNX Runtime's static quantization, in Q/DQ form, with its own defaults for each calibration method."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from benchmarks.peers.child import Job, Work, serve

# What `create_calibrator` chose; the defaults there are not those of the classes' constructors.
_CHOSEN = ("num_bins", "num_quantized_bins", "percentile", "symmetric")
# Where ONNX Runtime's own defaults would quantize more than the matmuls' two inputs, or with zero points.
_OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": ["MatMul"],
}


def _prepare() -> tuple[Work, Mapping[str, str]]:
    import numpy as np
    import onnx
    import onnxruntime
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    # The package has a function of the module's name, which hides it.
    quantizer: Any = import_module("onnxruntime.quantization.quantize")

    def work(job: Job) -> Mapping[str, Any]:
        images = np.load(job.calibration)  # [N, 3, H, W]
        name = onnx.load(job.graph).graph.input[0].name
        chosen: dict[str, Any] = {}
        create = quantizer.create_calibrator

        def observed(*arguments: Any, **options: Any) -> Any:
            calibrator = create(*arguments, **options)
            chosen.update({key: getattr(calibrator, key) for key in _CHOSEN if hasattr(calibrator, key)})
            return calibrator

        quantizer.create_calibrator = observed
        quantize_static(
            job.graph,
            job.out,
            _Batches(name, images, job.batch),
            quant_format=QuantFormat.QDQ,
            # Restricts what is calibrated, too: memory of the histogram methods.
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=list(job.matmuls),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[job.method],
            extra_options=_OPTIONS,
        )
        return {**_OPTIONS, "per_channel": True, **chosen}

    versions = {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__, "numpy": np.__version__}
    return work, versions


class _Batches:
    """ONNX Runtime's `CalibrationDataReader`, which asks for this one method."""

    def __init__(self, name: str, images: Any, batch: int) -> None:
        self._steps = iter([{name: images[start : start + batch]} for start in range(0, len(images), batch)])

    def get_next(self) -> Mapping[str, Any] | None:
        """The next batch, `None` after the last."""
        return next(self._steps, None)


if __name__ == "__main__":
    serve(_prepare)
