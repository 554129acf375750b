"""The attention that TensorRT 8.6.0 computes wrongly in FP16 at batch 32, beside ours: the same network twice.

    python -m benchmarks.merged_windows OUT [--model swin_t]

Writes OUT/apart.onnx, whose scores are [B, nW, h, N, N], and OUT/merged.onnx, whose scores are [B, nW*h, N, N] plus a
constant [1, nW*h, N, N], both in the profile of the TensorRT installed (`trt86` without one), with random weights,
which suffice to show it. Where TensorRT 8 and a GPU are, both are built in FP16 for batches 1 to 32 and compared with
ONNX Runtime's FP32 at each; elsewhere each line says that it was not executed, and why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import click
import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import ModelProto
from torch import Tensor, nn

from examples.zoo.build_zoo import ZOO, random_weights
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.backends.tensorrt import TensorRTBackend
from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.device.plan_sidecar import sidecar_path
from swin_deploy.device.tensorrt_versions import import_flavor
from swin_deploy.errors import Unavailable
from swin_deploy.model.deployment import DeploymentSwin, WindowAttention
from swin_deploy.model.fold import fold
from swin_deploy.model.forms import build_reference
from swin_deploy.onnx_graph.lowering import lowered
from swin_deploy.onnx_graph.names import name_batch_axis, name_by_module
from swin_deploy.onnx_graph.profiles import LOWERED
from swin_deploy.onnx_graph.simplifier import simplified
from swin_deploy.onnx_graph.tensorrt8_operators import IMPORTERS
from swin_deploy.stages.build import Build
from swin_deploy.torch_versions import export_onnx, export_program

__all__ = ["MergedWindows", "exported", "merge_windows"]

_BATCHES = (1, 8, 32)


class MergedWindows(nn.Module):
    """`WindowAttention` of V1 with windows and heads in one axis of its scores."""

    constant: Tensor

    def __init__(self, apart: WindowAttention) -> None:
        super().__init__()
        assert apart.mask is None and apart.logit_scale is None, "a V1 whose position bias holds its mask"
        self.qkv, self.proj = apart.qkv, apart.proj
        self.windows, self.tokens, self.heads, self.head_dim = apart.windows, apart.tokens, apart.heads, apart.head_dim
        whole = apart.constant.expand(self.windows, -1, -1, -1)  # [nW, h, N, N]
        self.register_buffer("constant", whole.reshape(1, -1, self.tokens, self.tokens).clone())  # [1, nW*h, N, N]

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] in window order to the same."""
        qkv = self.qkv(x).reshape(-1, self.windows, self.tokens, 3, self.heads, self.head_dim)
        qkv = qkv.permute(3, 0, 1, 4, 2, 5)  # [3, B, nW, h, N, d]
        q, k, v = qkv.reshape(3, -1, self.windows * self.heads, self.tokens, self.head_dim).unbind(0)
        scores = q @ k.transpose(-2, -1) + self.constant  # [B, nW*h, N, N]
        x = scores.softmax(dim=-1) @ v  # [B, nW*h, N, d]
        x = x.reshape(-1, self.windows, self.heads, self.tokens, self.head_dim).transpose(2, 3)  # [B, nW, N, h, d]
        x = x.reshape(-1, self.windows * self.tokens, self.heads * self.head_dim)  # [B, L, C]
        out: Tensor = self.proj(x)
        return out


def merge_windows(model: nn.Module) -> None:
    """Give every block the form that is computed wrongly."""
    for block in cast(DeploymentSwin, model).blocks:
        block.attn = MergedWindows(cast(WindowAttention, block.attn))


def exported(spec: SwinSpec, folder: Path) -> Iterator[tuple[str, ModelProto]]:
    """The strong FP32 graph of random weights in both forms, by name."""
    paper = build_reference(spec)
    paper.load_state_dict(random_weights(spec))
    for name in ("apart", "merged"):
        model = fold(paper.eval())
        if name == "merged":
            merge_windows(model)
        path = folder / f"{name}.strong.onnx"
        export_onnx(export_program(model, spec.image_size, _BATCHES[-1], "cpu"), path, 20, spec.outputs)
        graph = onnx.load(path)
        name_by_module(graph)
        name_batch_axis(graph)
        yield name, simplified("onnxsim", graph)


def _profile() -> tuple[str, str | None]:
    """The export profile of the TensorRT here, and why nothing can be executed on it."""
    try:
        module, traits = import_flavor("tensorrt")
    except Unavailable as error:
        return LOWERED[0], str(error)
    if traits.profile not in LOWERED:
        return LOWERED[0], f"TensorRT {module.__version__} is installed, and this is about TensorRT 8"
    return traits.profile, Build("tensorrt", Precision.FP16, _BATCHES, profile=traits.profile).unavailable()


@click.command(help=__doc__.split("\n")[0])
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--model", default="swin_t", show_default=True, type=click.Choice(sorted(ZOO)), help="Architecture.")
@torch.no_grad()
def main(out: Path, model: str) -> None:
    """Write both graphs, and execute them where TensorRT 8 is."""
    out.mkdir(parents=True, exist_ok=True)
    spec, (profile, reason) = ZOO[model].spec, _profile()
    images = np.random.default_rng(0).standard_normal((_BATCHES[-1], spec.channels, *spec.image_size), np.float32)
    for name, graph in exported(spec, out):
        path = out / f"{name}.onnx"
        onnx.save(lowered(graph, IMPORTERS[profile]), path)  # in_profile refuses the merged one, which is the point
        source = Artifact(name, path, Format.ONNX, Precision.FP32)
        if reason is not None:
            click.echo(f"{name}: not executed: {reason}")
            continue
        for batch, error in _errors(source, profile, images):
            click.echo(f"{name}: FP16, batch {batch}: relative error {error:.4f}")


def _errors(source: Artifact, profile: str, images: npt.NDArray[np.float32]) -> Iterator[tuple[int, float]]:
    """|engine - FP32| / |FP32| at each batch, L2 norms over all outputs."""
    plan = source.path.with_suffix(".plan")
    produced = Build("tensorrt", Precision.FP16, _BATCHES, profile=profile).run(source, plan)
    sidecar_path(plan).write_text(json.dumps(produced.sidecar), encoding="utf-8")
    engine = Artifact("engine", plan, Format.TENSORRT_PLAN, Precision.FP16, source.name)
    with OnnxRuntime().open(source) as exact, TensorRTBackend("tensorrt").open(engine) as session:
        for batch in _BATCHES:
            (wanted,), (found,) = (list(opened.infer(images[:batch]).values()) for opened in (exact, session))
            yield batch, float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


if __name__ == "__main__":
    main()
