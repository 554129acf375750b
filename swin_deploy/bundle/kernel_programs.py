"""The kernel programs of a bundle: the network in the toolkit's own kernels, compiled here for the target's GPUs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from swin_deploy.artifact import Format, Precision
from swin_deploy.bundle.targets import Target
from swin_deploy.device.bundle_file import BundleProgram
from swin_deploy.device.closeness import Verdict, worst
from swin_deploy.device.fixture_replay import Fixtures, replay
from swin_deploy.errors import ExplainedError, Unavailable
from swin_deploy.manifest import Manifest
from swin_deploy.parity.gates import GATE_OF_ENGINE, GATES
from swin_deploy.plan import ORACLE
from swin_deploy.validation import artifact_of

if TYPE_CHECKING:
    from torch import nn

__all__ = ["pack_programs", "recorded_batches"]

_HALVES = (Precision.FP16, Precision.BF16)


def pack_programs(
    place: Path,
    folder: Path,
    manifest: Manifest,
    target: Target,
    precisions: tuple[Precision, ...],
    fixtures: Fixtures,
    say: Callable[[str], None],
) -> tuple[BundleProgram, ...]:
    """Write a kernel program into `place` for each half precision, as far as there can be one.

    A program is one engine more: what it cannot be made of is said, and the bundle is the same without it.

    Args:
        place: The bundle's folder.
        folder: The run.
        manifest: Its manifest.
        target: Its GPUs' architectures are compiled for.
        precisions: Of the bundle's engines.
        fixtures: Images and answers, by which the fused form is judged on the CPU before it is packed.
        say: Told of what was packed and what was not, a sentence at a time.
    """
    packed = []
    halves = [precision for precision in precisions if precision in _HALVES]
    if not halves:
        names = ", ".join(precision.value for precision in precisions)
        say(f"no kernel program: they compute in FP16 or BF16, and the bundle's engines in {names}")
    for precision in halves:
        try:
            packed.append(_program(place, folder, manifest, target, precision, fixtures, say))
        except ExplainedError as error:
            shutil.rmtree(place / _inner(precision), ignore_errors=True)  # what was written of it before the error
            say(f"kernels-{precision.value}: left out: {error}")
    return tuple(packed)


def recorded_batches(batches: tuple[int, int, int]) -> tuple[int, ...]:
    """The batch sizes that are recorded: those of the profile, and powers of 2 between the smallest and the largest.

    Any other runs in the next larger one, and so never does twice the work.
    """
    smallest, usual, largest = batches
    powers = {1 << power for power in range(largest.bit_length()) if smallest <= 1 << power <= largest}
    return tuple(sorted({smallest, usual, largest} | powers))


def _program(
    place: Path,
    folder: Path,
    manifest: Manifest,
    target: Target,
    precision: Precision,
    fixtures: Fixtures,
    say: Callable[[str], None],
) -> BundleProgram:
    _refuse_impossible(manifest, target)
    import torch

    from swin_deploy.kernels.launched import LaunchedOperators
    from swin_deploy.kernels.make_program import ProgramRequest, make_program
    from swin_deploy.kernels.recorded_run import RecordedRun
    from swin_deploy.kernels.twins import TwinOperators
    from swin_deploy.model.fused import fuse
    from swin_deploy.model.fusion_plan import FusionPlan

    batches = cast("tuple[int, int, int]", tuple(int(size) for size in manifest.recipe["batch"]))
    name, inner = f"kernels-{precision.value}", _inner(precision)
    gate = GATES[GATE_OF_ENGINE[precision]]
    run = RecordedRun()
    request = ProgramRequest(
        cast("tuple[int, int, int]", tuple(int(size) for size in fixtures.images.shape[1:])),
        next(iter(fixtures.oracle)),
        recorded_batches(batches),
        target.architectures,
    )
    folded = _folded(folder, manifest)
    dtype = {Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}[precision]
    recorded = fuse(folded, FusionPlan(), dtype, LaunchedOperators(run))
    _check_twin(fuse(folded, FusionPlan(), dtype, TwinOperators()), fixtures, batches, precision)
    say(f"{name}: compiling for compute capability {', '.join(target.architectures)}")
    made = make_program(recorded, run, request, place / inner)
    for architecture, reason in made.left_out.items():
        say(f"{name}: without compute capability {architecture}: {reason}")
    say(
        f"{inner}: {len(made.program.kernels)} kernels for compute capability "
        f"{', '.join(made.program.capabilities)}; what they compute is as close to the original as the gates ask in "
        "plain PyTorch, and not executed on a GPU yet"
    )
    return BundleProgram(name, precision, inner, gate)


def _inner(precision: Precision) -> str:
    """The program's folder in the bundle."""
    return f"kernels/{precision.value}"


def _refuse_impossible(manifest: Manifest, target: Target) -> None:
    """What no program can be made of, or nobody here could make one."""
    from swin_deploy.kernels.ahead_of_time import unavailable

    step = manifest.step(ORACLE)
    if not target.architectures:
        raise Unavailable(f"Triton's compiler has no code for {target.devices}")
    if step is None or step.format != Format.CHECKPOINT.value:
        raise Unavailable("a network of the user's own has no fused form")
    if manifest.task != "classifier":
        raise Unavailable(f"a {manifest.task or 'network without a task'} has more than the kernels compute")
    if manifest.recipe.get("fp32_blocks"):
        raise Unavailable("the run keeps blocks in FP32, and a program has one type for all")
    reason = unavailable()
    if reason:
        raise Unavailable(reason, needed="Triton", do="pip install 'swin-deploy[kernels]'")


def _folded(folder: Path, manifest: Manifest) -> nn.Module:
    """The run's network in the deployment form, in FP64: the fold is exact, so that it can be made anew."""
    from swin_deploy.model.fold import fold
    from swin_deploy.model.forms import open_reference

    step = manifest.step(ORACLE)
    assert step is not None and step.file is not None
    artifact, _, _ = artifact_of(folder / step.file)
    return fold(open_reference(artifact.path).double())


def _check_twin(fused: nn.Module, fixtures: Fixtures, batches: tuple[int, int, int], precision: Precision) -> None:
    """Judge the fused form by the engine's gate: its twins round where the kernels round."""
    from swin_deploy.backends.torch_session import TorchSession

    with TorchSession(fused, "cpu", tuple(fixtures.oracle)) as session:
        found = replay(session.infer, fixtures, batches, GATES[GATE_OF_ENGINE[precision]])
    if worst(found.judgements) is Verdict.FAIL:
        told = "; ".join(
            f"{check.check}: {check.detail}" for check in found.judgements if check.verdict is Verdict.FAIL
        )
        raise Unavailable(f"the fused form in {precision.value} failed on the fixtures: {told}")
