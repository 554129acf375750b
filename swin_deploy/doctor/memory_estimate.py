"""How much memory and disk a Swin's build and run will take: an estimate from its architecture, and its formula.

    graph       = 4 bytes x (parameters + additive constants)
    activations = bytes x largest batch x max over blocks of (L C + max(3 L h d + 2 L N h, 2 L M)) + 8 MiB
    run         = graph x bytes / 4 + activations + inputs and outputs + 512 MiB
    build       = swin_deploy/device/build_memory.py, of the graph and the activations in FP32
    disk        = 12 x graph + 256 MiB

L tokens with padding, C channels, h heads of d channels (with the zero channels that are added), N tokens a window, M
hidden channels; bytes is 2 for FP16. A block's stream stays while either q, k, v and scores before and behind softmax
(as if nothing were fused) or the MLP's hidden channels before and behind GELU are there. Restoration keeps two streams
more, and its upsampler may need more than any block. TensorRT for RTX 1.6 says 18, 90 and 337 MB for Swin-T in FP32 at
batches 1, 8 and 32; this says 19, 95 and 355. 512 MiB for CUDA's context and the libraries' kernels is an assumption;
no device was measured. A build of the demo model leaves nine times its graph on disk.
"""

from __future__ import annotations

from dataclasses import dataclass

from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.checkpoint.task import Restoration
from swin_deploy.device.build_memory import BuildMemory, estimated
from swin_deploy.model.constants import constants_mib

__all__ = ["Estimate", "estimate"]

_MIB = 2**20
_CONTEXT_MIB = 512
_PLANNING_MIB = 8
_DISK_TIMES, _DISK_MIB = 12, 256


@dataclass(frozen=True)
class Estimate:
    """What a deployment is likely to take, in MiB.

    Attributes:
        graph: Weights and constants in FP32, as ONNX.
        activations: Of the largest batch, in FP16.
        run: In the GPU's memory, in FP16.
        build: In the builder's, in its parts; on a board whose CPU and GPU share memory all of it there.
        disk: What a build leaves.
        largest_batch: What the activations were counted for.
    """

    graph: int
    activations: int
    run: int
    build: BuildMemory
    disk: int
    largest_batch: int


def estimate(spec: SwinSpec, parameters: int, largest_batch: int, package: str) -> Estimate:
    """Estimate one deployment.

    Args:
        spec: The architecture.
        parameters: How many numbers its weights are.
        largest_batch: Of the profile.
        package: `tensorrt` or `tensorrt_rtx`, which builds.
    """
    assert parameters >= 1 and largest_batch >= 1
    graph = parameters * 4 / _MIB + constants_mib(spec)
    elements = largest_batch * max(_at_a_block(spec, stage, block) for stage, block in spec.blocks())
    if isinstance(spec.task, Restoration):
        elements = max(elements, largest_batch * _at_the_upsampler(spec, spec.task))
    activations = {size: size * elements / _MIB + _PLANNING_MIB for size in (2, 4)}
    ends = largest_batch * (4 * spec.channels * spec.image_size[0] * spec.image_size[1] + spec.output_bytes) / _MIB
    return Estimate(
        graph=round(graph),
        activations=round(activations[2]),
        run=round(graph / 2 + activations[2] + ends + _CONTEXT_MIB),
        build=estimated(package, round(graph * _MIB), round(activations[4])),
        disk=round(_DISK_TIMES * graph + _DISK_MIB),
        largest_batch=largest_batch,
    )


def _at_a_block(spec: SwinSpec, stage: int, block: int) -> int:
    """Numbers of one image that are there at once while a block works."""
    from swin_deploy.model.deployment import fusible_head_dim

    dims, geometry = spec.stages[stage], spec.geometry(stage, block)
    tokens = geometry.windows * geometry.tokens
    attention = 3 * dims.heads * fusible_head_dim(dims.head_dim) + 2 * geometry.tokens * dims.heads
    streams = 3 if isinstance(spec.task, Restoration) else 1  # the block's, the group's, and the shallow features
    return tokens * (streams * dims.dim + max(attention, 2 * dims.mlp_dim))


def _at_the_upsampler(spec: SwinSpec, task: Restoration) -> int:
    """Numbers of one image around the last enlargement: what it is given, its result, and a convolution's of that."""
    if task.upsampler in ("none", "pixelshuffledirect"):
        return 0  # one convolution at the input's resolution, less than a block
    height, width = spec.padded_image
    last = 3 if task.scale == 3 else 2
    enlarged = task.features * task.scale**2
    return height * width * (2 * enlarged + enlarged // last**2 + 3 * spec.stages[0].dim)
