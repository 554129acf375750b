"""The floor that a Swin is held against: five fused kernels a block, each with its arithmetic and its least traffic.

    floor = sum over kernels of max(FLOP / measured rate of products, bytes / measured rate of copies)

The five are qkv, attention, proj, fc1 and fc2, with norms, GELU, residuals, shift and partition inside them. Each reads
its inputs and weights once and writes its output once; scores never leave the chip. Beside them stand the patch
embedding, a merging a stage, and the head in two. A kernel that keeps the hidden features of an MLP on the chip does
with less than this floor counts, so that a network of such kernels may pass it.
"""

from __future__ import annotations

from collections.abc import Iterator

from swin_deploy.benchmark.operations import BYTES, Operation
from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.checkpoint.task import Classifier

__all__ = ["fused_kernels"]


def fused_kernels(
    spec: SwinSpec, batch: int, floats: str = "fp16", linears: str | None = None
) -> tuple[Operation, ...]:
    """The kernels of a classifier.

    Args:
        spec: The network.
        batch: Images a call.
        floats: What tensors between kernels are stored in, and what attention is computed in.
        linears: What qkv, proj, fc1, fc2 and the mergings multiply in; `None` for `floats`.
    """
    assert isinstance(spec.task, Classifier), "a floor of a network without a head"
    return tuple(_kernels(spec, spec.task.classes, batch, floats, linears or floats))


def _kernels(spec: SwinSpec, classes: int, batch: int, floats: str, linears: str) -> Iterator[Operation]:
    def linear(
        name: str, rows: int, inner: int, outer: int, *, residual: bool = False, grid: str = linears
    ) -> Operation:
        moved = BYTES[grid] * (rows * inner + inner * outer) + BYTES[floats] * rows * outer * (2 if residual else 1)
        return Operation(name, 2.0 * rows * inner * outer, float(moved), grid)

    pixels = spec.patch**2 * spec.channels
    rows = batch * _tokens(spec, 0)
    yield linear("patch_embed", rows, pixels, spec.stages[0].dim, grid=floats)
    for index, block in spec.blocks():
        stage, geometry, name = spec.stages[index], spec.geometry(index, block), f"stages.{index}.blocks.{block}"
        rows = batch * _tokens(spec, index)
        if spec.merging and index and block == 0:
            yield linear(f"{name}.merge", rows, 4 * spec.stages[index - 1].dim, stage.dim)
        yield linear(f"{name}.qkv", rows, stage.dim, 3 * stage.dim)
        scores = geometry.windows * geometry.tokens**2
        constants = stage.heads * geometry.tokens**2 + (scores if geometry.shifted else 0)
        moved = BYTES[floats] * (4 * rows * stage.dim + constants)
        yield Operation(f"{name}.attention", 4.0 * batch * scores * stage.dim, float(moved), floats)
        yield linear(f"{name}.proj", rows, stage.dim, stage.dim, residual=True)
        yield linear(f"{name}.fc1", rows, stage.dim, stage.mlp_dim)
        yield linear(f"{name}.fc2", rows, stage.mlp_dim, stage.dim, residual=True)
    width = spec.stages[-1].dim
    yield Operation("mean", 0.0, float(BYTES[floats] * (rows + batch) * width), floats)
    yield linear("head", batch, width, classes, grid=floats)


def _tokens(spec: SwinSpec, stage: int) -> int:
    height, width = spec.feature_map(stage)
    return height * width
