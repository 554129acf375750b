"""The child process of the simplify stage: `python -m swin_deploy.onnx_graph.simplifier TOOL IN OUT`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["simplified"]

# Merging MatMul and Add into Gemm flattens the batch and wraps each linear in two Reshapes, which TensorRT then keeps.
_SKIPPED = ["fuse_matmul_add_bias_into_gemm", "fuse_matmul_add_bias_into_gemm_batched"]


def simplified(tool: str, model: ModelProto) -> ModelProto:
    """Simplify an FP32 model with `onnxsim` or `onnxslim`; names and metadata are kept."""
    if tool == "onnxsim":
        import onnxsim

        result, valid = onnxsim.simplify(model, skipped_optimizers=_SKIPPED)
        if not valid:
            raise RuntimeError("onnxsim's own check failed")
    elif tool == "onnxslim":
        import onnxslim

        result = onnxslim.slim(model, skip_fusion_patterns=["FusionGemm"])
    else:
        raise ValueError(f"no simplifier {tool!r}")
    result = cast("ModelProto", result)
    if not result.metadata_props:
        result.metadata_props.extend(model.metadata_props)
    return result


def main(arguments: list[str]) -> None:
    """Simplify one file."""
    import onnx

    tool, source, out = arguments
    model = simplified(tool, onnx.load(source))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, Path(out))


if __name__ == "__main__":
    main(sys.argv[1:])
