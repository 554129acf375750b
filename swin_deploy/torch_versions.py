"""Every call into PyTorch whose form depends on its version (2.11 and later are supported)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

__all__ = [
    "compile_package",
    "count_operators",
    "exact_fp32",
    "export_onnx",
    "export_program",
    "fp8_product",
    "int8_product",
    "load_package",
    "out_of_memory",
    "program_on",
    "quiet_inductor",
    "shaped_as_outputs",
]

# Key of the output names in a package's metadata.
_OUTPUTS = "swin_deploy_outputs"


def export_program(
    module: nn.Module, image_size: tuple[int, int], largest_batch: int, device: str, channels: int = 3
) -> ExportedProgram:
    """Trace `module` with a free batch axis, 1 to `largest_batch`, on images [B, channels, H, W] in FP32."""
    import torch

    # Two examples, since a batch of one would be taken for a constant.
    examples = torch.zeros(2, channels, *image_size, device=device)
    batch = torch.export.Dim("batch", min=1, max=max(largest_batch, 2))
    with torch.no_grad():
        return torch.export.export(module, (examples,), dynamic_shapes=({0: batch},))


def count_operators(program: ExportedProgram) -> int:
    """How many operators a traced program calls."""
    return sum(node.op == "call_function" for node in program.graph.nodes)


def export_onnx(program: ExportedProgram, path: Path, opset: int | None, outputs: tuple[str, ...]) -> None:
    """Write `program` as ONNX with the input `images` and `outputs` in their order, weights inside the file.

    Without `opset` the exporter takes its own.
    """
    import contextlib
    import io
    import logging

    import torch

    # The exporter reports progress on standard output, and on the root logger that two optional passes are absent.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        exported = torch.onnx.export(
            program, (), input_names=["images"], output_names=list(outputs), opset_version=opset, dynamo=True
        )
    assert exported is not None
    exported.save(path, external_data=False)


def compile_package(program: ExportedProgram, path: Path, outputs: tuple[str, ...]) -> None:
    """Compile `program` ahead of time into a `.pt2` package that torch alone can load and that names its `outputs`."""
    import json

    import torch._inductor

    quiet_inductor()
    exact_fp32()
    settings: dict[str, Any] = {"aot_inductor.metadata": {_OUTPUTS: json.dumps(outputs)}}
    if all(weight.device.type == "cpu" for weight in program.state_dict.values()):
        # Frozen weights are packed for oneDNN, which fuses GELU and residual into its products; else they go to MKL,
        # whose kernels for other makers' processors do without AVX-512. The number of threads is the caller's.
        settings |= {"freezing": True, "cpp.dynamic_threads": True}
    with torch.no_grad():  # or nothing is frozen
        torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=settings)


def program_on(program: ExportedProgram, device: str) -> ExportedProgram:
    """`program` with its weights and its device-bound operators on `device`."""
    from torch.export.passes import move_to_device_pass

    return program if device == "cpu" else move_to_device_pass(program, device)


def shaped_as_outputs(program: ExportedProgram, names: tuple[str, ...]) -> Any:
    """`names` in the structure in which `program` returns its tensors: bare, a tuple, a mapping."""
    import torch.utils._pytree as pytree

    return pytree.tree_unflatten(list(names), program.call_spec.out_spec)


def exact_fp32() -> None:
    """Turn TF32 off: it is PyTorch's default for convolutions, and would make FP32 itself wrong by about 1e-3."""
    import torch

    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch says that memory ran out: on a CPU only the message tells."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def int8_product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply INT8 matrices into INT32.

    Raises:
        RuntimeError: this device or build has no such product.
        AttributeError: this version has none.
    """
    import torch

    return torch._int_mm(left, right)


def fp8_product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply matrices in FP8, the right one transposed in memory, into FP16, with a scale of 1.

    Raises:
        RuntimeError: this device or build has no such product.
        AttributeError: this version has none.
    """
    import torch

    one = torch.ones((), device=left.device)
    return torch._scaled_mm(left, right, scale_a=one, scale_b=one, out_dtype=torch.float16, use_fast_accum=True)


def quiet_inductor() -> None:
    """Keep Inductor from saying, on every machine without a GPU, that a CUDA toolkit has no runtime."""
    import logging

    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def load_package(path: Path) -> tuple[Callable[[Tensor], Any], tuple[str, ...] | None]:
    """Load what `compile_package` wrote: the function and the names of its outputs, `None` in a foreign package."""
    import json

    import torch._inductor

    quiet_inductor()
    loaded: Any = torch._inductor.aoti_load_package(str(path))
    stated = loaded.get_metadata().get(_OUTPUTS)
    return cast("Callable[[Tensor], Any]", loaded), None if stated is None else tuple(json.loads(stated))
