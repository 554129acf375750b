"""Whether a plan may be loaded here: what its side-car says against this machine, before any native code reads it."""

from __future__ import annotations

from pathlib import Path

from swin_deploy.device import cuda_memory
from swin_deploy.device.plan_sidecar import PlanSidecar, read_sidecar
from swin_deploy.device.tensorrt_versions import import_flavor
from swin_deploy.errors import BadInput, Unavailable

__all__ = ["check_machine", "check_plan"]


def check_machine(flavor: str, device: int = 0) -> None:
    """That this machine has the package and a GPU that it runs on.

    Raises:
        Unavailable: it has not.
    """
    _, traits = import_flavor(flavor)
    reason = cuda_memory.unavailable(device)
    if reason is not None:
        raise Unavailable(reason)
    capability = cuda_memory.compute_capability(device)
    family = dict(traits.refused_capabilities).get(capability)
    if family is not None:
        raise Unavailable(f"{_gpu_here(device, capability)}: {flavor} does not run on {family}")


def check_plan(plan: Path, *, flavor: str, device: int = 0, check_hash: bool = True) -> PlanSidecar:
    """That `plan` is whole and was built for this package, version and GPU; its side-car.

    Args:
        plan: The plan file.
        flavor: The package that is to load it.
        device: The GPU it is to run on.
        check_hash: Also read the whole plan.

    Raises:
        Unavailable: the package or a GPU is missing, or the plan was built for another GPU.
        BadInput: the plan or its side-car is damaged or missing, or another package or version built it.
    """
    check_machine(flavor, device)
    trt, traits = import_flavor(flavor)
    sidecar = read_sidecar(plan, check_hash=check_hash)
    if (sidecar.package, sidecar.version) != (flavor, str(trt.__version__)):
        raise BadInput(
            f"{plan.name} was built with {sidecar.package} {sidecar.version}, and {flavor} {trt.__version__} is here",
            needed=f"a plan of that very version: one is bound to {traits.bound_to}",
            do="Build it again here",
        )
    capability = cuda_memory.compute_capability(device)
    if capability not in sidecar.targets:
        raise Unavailable(
            f"{_gpu_here(device, capability)}; {plan.name} was built for {', '.join(sidecar.targets)}",
            do="Build it for this GPU",
        )
    if sidecar.gpu and sidecar.gpu != cuda_memory.gpu_model(device):
        raise Unavailable(
            f"the GPU here is {cuda_memory.gpu_model(device)}; {plan.name} was built on {sidecar.gpu}",
            needed=f"that GPU: a plan is bound to {traits.bound_to}",
            do="Build it again on this machine",
        )
    return sidecar


def _gpu_here(device: int, capability: str) -> str:
    return f"the GPU here ({cuda_memory.device_name(device)}) has compute capability {capability}"
