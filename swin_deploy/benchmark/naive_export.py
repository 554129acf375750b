"""The naive way to an engine, to compare with: export the reference form as it is, and build that."""

from __future__ import annotations

import json
from pathlib import Path

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.atomic import write_text
from swin_deploy.device import cuda_memory
from swin_deploy.device.plan_sidecar import sidecar_path
from swin_deploy.device.tensorrt_versions import import_flavor, package_unavailable
from swin_deploy.errors import Unavailable
from swin_deploy.stages.build import Build

__all__ = ["naive_engine", "naive_graph"]

# What is built for where there is no GPU to build for; nothing is executed there.
_STAND_IN = "8.6"


def naive_graph(reference: Artifact, precision: Precision, folder: Path, largest_batch: int) -> Artifact:
    """`torch.onnx.export` of the paper form with its own options: nothing folded, nothing simplified.

    Args:
        reference: The run's oracle.
        precision: FP32, FP16 or BF16; the latter two by rounding the whole module.
        folder: Where the graph goes.
        largest_batch: Upper end of the batch axis.
    """
    import torch

    from swin_deploy.model.network import open_network
    from swin_deploy.model.rounded import Rounded
    from swin_deploy.torch_versions import export_onnx, export_program

    network = open_network(reference, "cpu", paper=True)
    types = {Precision.FP32: torch.float32, Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}
    if precision is Precision.FP32:
        program = network.program(largest_batch)
    else:
        rounded = Rounded(network.module, types[precision]).eval()
        program = export_program(rounded, network.image_size, largest_batch, "cpu", network.channels)
    path = folder / f"naive.{precision.value}.onnx"
    export_onnx(program, path, None, network.outputs)
    return Artifact(f"naive-{precision.value}", path, Format.ONNX, precision)


def naive_engine(
    reference: Artifact, precision: Precision, folder: Path, batch: tuple[int, int, int]
) -> tuple[Artifact, str]:
    """Build the naive graph: for the GPU here with TensorRT, else ahead of time with TensorRT for RTX.

    Args:
        reference: The run's oracle.
        precision: As in `naive_graph`.
        folder: Where graph and plan go.
        batch: Smallest, usual and largest batch.

    Returns:
        The plan, and what the builder made of the graph, in words.

    Raises:
        Unavailable: neither package can build here.
        ExplainedError: see `build_plan`.
    """
    no_gpu = cuda_memory.unavailable()
    flavor = "tensorrt" if no_gpu is None and package_unavailable("tensorrt") is None else "tensorrt_rtx"
    missing = package_unavailable(flavor)
    if missing is not None:
        raise Unavailable(missing)
    _, traits = import_flavor(flavor)
    # Where flags ask for the precision, the graph stays FP32.
    graph = naive_graph(reference, Precision.FP32 if traits.precision_flags else precision, folder, batch[2])
    targets = () if flavor == "tensorrt" else (_STAND_IN if no_gpu else cuda_memory.compute_capability(),)
    stage = Build(flavor, precision, batch, targets, profile=traits.profile)
    path = folder / f"naive.{precision.value}{stage.suffix}"
    produced = stage.run(graph, path)
    assert produced.sidecar is not None
    write_text(sidecar_path(path), json.dumps(produced.sidecar))
    censuses = list(produced.facts["kernels"].values())
    kernels = f"{censuses[0]['kernels']} kernels" if censuses else "kernels not listed"
    words = f"{flavor} {produced.facts['version']} built it in {produced.facts['seconds']:.1f} s: {kernels}"
    return Artifact(f"naive-{precision.value}-engine", path, stage.produces[0], precision), words
