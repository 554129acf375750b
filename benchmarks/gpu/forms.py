"""The forms of one network that are timed against each other, each from shared images to a call that gives logits."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.race import Contestant
from benchmarks.gpu.subject import Subject
from benchmarks.gpu.timers import CpuTimer, CudaTimer, Timer
from swin_deploy.kernels.compile_ahead import CompilingRun, compiled_together
from swin_deploy.kernels.launched import LaunchedOperators
from swin_deploy.kernels.torch_operators import TorchOperators
from swin_deploy.kernels.triton_run import TritonRun
from swin_deploy.kernels.twins import TwinOperators
from swin_deploy.model.fused import fuse
from swin_deploy.model.fusion_plan import FusionPlan
from swin_deploy.torch_versions import exact_fp32, quiet_inductor

if TYPE_CHECKING:
    from swin_deploy.kernels.operators import Operators

__all__ = ["Forms", "Stand", "gpu_stand", "rehearsal_stand"]


@dataclass(frozen=True)
class Stand:
    """Where forms run.

    Attributes:
        timer: Of the device.
        dtype: What networks compute in.
        compiler: The backend of `torch.compile`.
        kernels: Who computes fused operators in a form that is called as it is.
        embedded: Who computes them in a form that is compiled.
    """

    timer: Timer
    dtype: torch.dtype
    compiler: str
    kernels: Operators
    embedded: Operators

    @property
    def device(self) -> str:
        """`cuda` or `cpu`."""
        return self.timer.device


def gpu_stand(dtype: torch.dtype) -> Stand:
    """A GPU, with the kernels."""
    exact_fp32()
    quiet_inductor()
    return Stand(CudaTimer(), dtype, "inductor", LaunchedOperators(TritonRun()), TorchOperators())


def rehearsal_stand(dtype: torch.dtype) -> Stand:
    """A CPU, with the twins, and with nothing compiled to machine code."""
    return Stand(CpuTimer(), dtype, "eager", TwinOperators(), TwinOperators())


@dataclass(frozen=True)
class Forms:
    """The forms of `subject` on `stand`."""

    subject: Subject
    stand: Stand

    @property
    def precision(self) -> str:
        """`fp16` or `bf16`."""
        return {torch.float16: "fp16", torch.bfloat16: "bf16"}[self.stand.dtype]

    def images(self, batch: int) -> Tensor:
        """Those that all contestants share, [B, channels, H, W], already in the type that they compute in."""
        generator = torch.Generator(self.stand.device).manual_seed(0)
        shape = (batch, self.subject.spec.channels, *self.subject.spec.image_size)
        return torch.randn(shape, device=self.stand.device, generator=generator).to(self.stand.dtype)

    def oracle(self) -> Callable[[Tensor], Tensor]:
        """The paper form in FP32: what errors are told against."""
        return self._call(self.subject.paper)

    def timm(self, name: str, *, compiled: bool = False, mode: str | None = None, graph: bool = True) -> Contestant:
        """The model of timm, eager or by `torch.compile`."""

        def make(images: Tensor) -> Callable[[], Tensor]:
            call = self._call(self.subject.timm, self.stand.dtype, compiled=compiled, mode=mode)
            return lambda: call(images)

        return Contestant(name, self.precision, make, graph)

    def folded(self, name: str, *, graph: bool = True) -> Contestant:
        """Our deployment form by `torch.compile`, without kernels of ours."""

        def make(images: Tensor) -> Callable[[], Tensor]:
            call = self._call(self.subject.deployment, self.stand.dtype, compiled=True, whole=True)
            return lambda: call(images)

        return Contestant(name, self.precision, make, graph)

    def fused(self, name: str, plan: FusionPlan, *, compiled: bool = False, graph: bool = True) -> Contestant:
        """Our fused form; compiled where plain PyTorch is left in it that a compiler has to fuse."""

        def make(images: Tensor) -> Callable[[], Tensor]:
            stand = self.stand
            if stand.device == "cuda" and not compiled:
                _compile(self.fused_form(plan, LaunchedOperators(CompilingRun())), images)
            module = self.fused_form(plan, stand.embedded if compiled else stand.kernels)
            call = self._call(module, compiled=compiled, whole=True)
            return lambda: call(images)

        return Contestant(name, self.precision if plan.linears == "half" else plan.linears, make, graph)

    def fused_form(self, plan: FusionPlan, operators: Operators) -> nn.Module:
        """The fused form itself, on the device."""
        return fuse(self.subject.deployment, plan, self.stand.dtype, operators).to(self.stand.device)

    def tensorrt(self, name: str) -> Contestant:
        """TensorRT's engine of the paper form exported as it is; where it is not installed, why."""
        from swin_deploy.device.tensorrt_versions import package_unavailable

        missing = package_unavailable("tensorrt") or (None if self.stand.device == "cuda" else "no GPU")
        return Contestant(name, "fp16", lambda images: _Engine(self.subject, images), False, missing)

    def _call(
        self,
        module: nn.Module,
        dtype: torch.dtype | None = None,
        *,
        compiled: bool = False,
        whole: bool = False,
        mode: str | None = None,
    ) -> Callable[[Tensor], Tensor]:
        """`module` on the device without gradients; a copy, since other forms need it as it is."""
        import copy

        there = copy.deepcopy(module).to(self.stand.device, dtype)
        ready: Any = there
        if compiled:
            ready = torch.compile(there, dynamic=False, fullgraph=whole, backend=self.stand.compiler, mode=mode)

        def call(images: Tensor) -> Tensor:
            with torch.no_grad():
                found: Tensor = ready(images)
            return found

        return call


def _compile(module: nn.Module, images: Tensor) -> None:
    """All kernels of a form, the compilers side by side."""

    def work() -> None:
        with torch.no_grad():
            module(images)

    compiled_together(work, len(os.sched_getaffinity(0)))


class _Engine:
    """An engine as a call; its time is that of the network alone, copies apart."""

    def __init__(self, subject: Subject, images: Tensor) -> None:
        from swin_deploy.artifact import Artifact, Format, Precision
        from swin_deploy.backends.tensorrt import TensorRTBackend
        from swin_deploy.benchmark.naive_export import naive_engine
        from swin_deploy.model.forms import save_reference

        self._images, batch = images, len(images)
        with tempfile.TemporaryDirectory(prefix="swin-deploy-bench-") as folder:
            path = Path(folder) / "reference.safetensors"
            save_reference(subject.paper, path)
            reference = Artifact("reference", path, Format.CHECKPOINT, Precision.FP32)
            plan, _ = naive_engine(reference, Precision.FP16, Path(folder), (batch, batch, batch))
            self._session = TensorRTBackend("tensorrt", cuda_graph=True).open(plan)

    def __call__(self) -> Tensor:
        outputs = self._session.infer(self._images.float().cpu().numpy())
        return torch.from_numpy(next(iter(outputs.values())))

    def turn(self, calls: int) -> list[float]:
        """See `Timer.turn`."""
        images = self._images.float().cpu().numpy()
        return [self._session.timed(images)[1].compute for _ in range(calls)]
