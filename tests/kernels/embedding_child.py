"""Run by test_embedding in a process of its own: how PyTorch takes the fused form apart for a GPU, where there is none.

Tensors are fake ones of the device `cuda`. Exporting, taking operators apart into launches and Inductor's code are then
PyTorch's own, up to where machine code would be made; what a GPU would be asked for is answered here. Prints JSON.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from triton.backends.compiler import GPUTarget

from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.kernels.torch_operators import TorchOperators
from swin_deploy.model.fold import fold
from swin_deploy.model.fused import fuse
from swin_deploy.model.fusion_plan import FusionPlan
from tests.random_swin import random_reference, small_spec

PADDED = small_spec("v1", image_size=(26, 18), depths=(1, 1), window=(4, 5), rule="openmmlab-dense")
CASES: dict[str, tuple[SwinSpec, torch.dtype, FusionPlan]] = {
    "v1": (small_spec("v1", depths=(2, 1)), torch.float16, FusionPlan(mlp_channels=16)),
    "v2": (small_spec("v2", depths=(1, 1)), torch.bfloat16, FusionPlan(mlp_channels=16)),
    "padded": (PADDED, torch.float32, FusionPlan(mlp_channels=0)),
    "int8": (small_spec("v1", depths=(1,), heads=(2,)), torch.float16, FusionPlan(mlp_channels=0, linears="int8")),
    "fp8": (small_spec("v1", depths=(1,), heads=(2,)), torch.float16, FusionPlan(mlp_channels=0, linears="fp8")),
}


@torch.library.custom_op("tests::opaque", mutates_args=())
def opaque(x: Tensor) -> Tensor:
    return x.clone()


@opaque.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Opaque(nn.Module):
    """The control: what is called back from a package stays in the graph by its name."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.ops.tests.opaque(images)


class Target:
    """What PyTorch asks Triton's driver for, to see what a kernel writes."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


class Properties:
    """What Inductor asks a GPU for."""

    major, minor, name, gcnArchName = 9, 0, "imitation", ""
    multi_processor_count, warp_size, total_memory, L2_cache_size = 108, 32, 80 << 30, 40 << 20
    regs_per_multiprocessor, max_threads_per_multi_processor, max_threads_per_block = 65536, 2048, 1024
    shared_memory_per_block, shared_memory_per_block_optin = 49152, 166912


def on_a_gpu(module: nn.Module, mode: FakeTensorMode) -> None:
    """Give `module` fake buffers of the same shapes on the device `cuda`."""
    with mode:
        for part in module.modules():
            for name, buffer in list(part.named_buffers(recurse=False)):
                part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda")


class Tuple(nn.Module):
    """`module` with its output in a tuple, as PyTorch wants it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.module(images)
        return found if isinstance(found, tuple) else (found,)


def taken_apart(module: nn.Module, size: tuple[int, int]) -> tuple[Any, Any, list[str]]:
    """The graph of launches of `module`, its fake mode, and the operators that were exported."""
    from torch._functorch.aot_autograd import aot_export_module
    from torch._inductor.decomposition import select_decomp_table

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    on_a_gpu(module, mode)
    with mode:
        images = torch.empty(2, 3, *size, device="cuda")
    batch = torch.export.Dim("batch", min=1, max=8)
    with torch.no_grad():
        program = torch.export.export(module, (images,), dynamic_shapes=({0: batch},))
    exported = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    given = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"][-1]
    inner = program.module(check_guards=False)
    on_a_gpu(inner, given.fake_mode)
    with given.fake_mode:
        graph, _ = aot_export_module(Tuple(inner), [given], trace_joint=False, decompositions=select_decomp_table())
    return graph, given.fake_mode, exported


def launches(graph: Any) -> list[tuple[str, list[str]]]:
    """The kernel of each launch, and what PyTorch found it to write."""
    from torch._higher_order_ops.triton_kernel_wrap import kernel_side_table

    found = []
    for node in graph.graph.nodes:
        if str(node.target) == "triton_kernel_wrapper_functional":
            kernel = kernel_side_table.get_kernel(node.kwargs["kernel_idx"])
            found.append((kernel.fn.__name__, list(node.kwargs["tensors_to_clone"])))
    return found


class CodeIsThere(BaseException):
    """Ends Inductor where it would compile what it wrote."""


@contextlib.contextmanager
def an_imitated_gpu() -> Iterator[list[str]]:
    from torch._dynamo.device_interface import CudaInterface
    from torch._inductor.graph import GraphLowering

    code = []

    def caught(self: Any) -> Any:
        code.append(str(self.codegen()[0].value))
        raise CodeIsThere

    properties = staticmethod(lambda *_: Properties())
    answers = {
        "get_device_properties": properties,
        "get_device_capability": lambda *_: (9, 0),
        "current_device": lambda: 0,
        "device_count": lambda: 1,
        "is_available": lambda: True,
        "get_rng_state": lambda *_: torch.zeros(1),
        "set_rng_state": lambda *_: None,
        "_exchange_device": lambda *_: 0,
        "_maybe_exchange_device": lambda *_: 0,
    }
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        stack.enter_context(mock.patch.object(CudaInterface, "get_device_properties", properties))
        stack.enter_context(mock.patch.object(CudaInterface.Worker, "get_device_properties", properties))
        stack.enter_context(mock.patch.object(GraphLowering, "compile_to_module", caught))
        yield code


def inductor_code(graph: Any, mode: Any) -> str:
    """What Inductor would run on a GPU."""
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.virtualized import V

    given = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
    with (
        an_imitated_gpu() as code,
        config.patch(force_disable_caches=True, compile_threads=1),
        torch._guards.tracing(torch._guards.TracingContext(mode)),
        V.set_fake_mode(mode),
        contextlib.suppress(CodeIsThere),
    ):
        compile_fx_inner(graph, given, static_input_idxs=list(range(len(given) - 1)))
    return code[0]


def main() -> None:
    triton.runtime.driver.set_active(Target())
    found: dict[str, Any] = {}
    for name, (spec, dtype, plan) in CASES.items():
        form = fuse(fold(random_reference(spec)), plan, dtype, TorchOperators())
        graph, mode, exported = taken_apart(form, spec.image_size)
        found[name] = {
            "exported": Counter(exported),
            "operators": Counter(str(node.target) for node in graph.graph.nodes if node.op == "call_function"),
            "launches": launches(graph),
        }
        if name == "v1":
            found[name]["code"] = inductor_code(graph, mode)
    graph, _, _ = taken_apart(Opaque(), (8, 8))
    found["control"] = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
    json.dump(found, sys.stdout)


main()
