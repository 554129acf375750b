"""Time artifacts and peers against each other in one process, in interleaved rounds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swin_deploy.artifact import Artifact
from swin_deploy.benchmark.entrants import Entrant, artifact_contestants, entrants, peer_contestants, warmed
from swin_deploy.benchmark.request import CUDA_GRAPHS, Request
from swin_deploy.benchmark.result import Benchmark
from swin_deploy.benchmark.roofline import Ceilings, share_of
from swin_deploy.benchmark.workload import Workload, ceilings_of
from swin_deploy.device.benchmark_line import Line, Ratio, Skipped, latency_of, phase_medians, ratio_to, turn_times
from swin_deploy.device.latency import timed_calls
from swin_deploy.device.rounds import interleaved
from swin_deploy.device.telemetry.sampler import sampled
from swin_deploy.device.telemetry.telemetry import energy_per_image
from swin_deploy.device.timed_call import TimedCall
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.manifest import Manifest
from swin_deploy.validation import artifact_of
from swin_deploy.versions import machine

__all__ = ["bench"]

_ENERGY_SECONDS = 2.0
Shape = tuple[int, int, int]


def bench(request: Request, heard: Callable[[str], object] = lambda text: None) -> Benchmark:
    """Time every artifact and peer at every batch size.

    Args:
        request: What and how.
        heard: Is told what is being done, in a few words.

    Returns:
        The lines of what ran, and what did not with the reason: an artifact or a peer that this machine cannot execute
        is never left out in silence.

    Raises:
        BadInput: the artifacts take images of different sizes, or one is damaged.
        UsageFault: a batch lies outside the profile that an artifact was built and judged for.
        ExplainedError: an artifact that this machine can execute failed.
    """
    import torch

    threads = request.threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    opened = [artifact_of(path) for path in request.paths]
    shape = _shape([manifest for _, _, manifest in opened])
    for artifact, _, manifest in opened:
        _check_batches(request.batches, artifact, manifest)
    workloads = {artifact.path.parent: Workload(artifact.path.parent, manifest) for artifact, _, manifest in opened}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="swin-deploy-bench-")))
        artifacts = [artifact for artifact, _, _ in opened]
        tried = artifact_contestants(artifacts, threads, CUDA_GRAPHS[request.cuda_graph])
        if request.peers:
            heard("exporting for the peers")
        tried += peer_contestants(request, artifacts, opened[0][2], folder, threads)
        skipped = [entry for entry in tried if isinstance(entry, Skipped)]
        contestants = [entry for entry in tried if not isinstance(entry, Skipped)]
        entries = list(entrants(contestants, request, workloads, shape, stack, skipped, heard))
        needs = [
            (entry.contestant.device, entry.workload.precisions(entry.contestant))
            for entry in entries
            if request.roofline
        ]
        heard("measuring the ceilings")
        before = ceilings_of(needs, threads)
        timed: list[tuple[Line, Entrant, tuple[TimedCall, ...]]] = []
        with sampled() as sampler:
            for batch in request.batches:
                timed += _timed(entries, _images(batch, shape), request, skipped, heard)
        telemetry = sampler.telemetry()
        # A second time: what another program took from the first measurement would make every share too large.
        heard("measuring the ceilings again")
        ceilings = {device: found.best_with(before[device]) for device, found in ceilings_of(needs, threads).items()}
        timed = [(_with_share(line, entry, ceilings), entry, calls) for line, entry, calls in timed]
        if telemetry.energy_j is not None:
            timed = [(_with_energy(line, entry, shape), entry, calls) for line, entry, calls in timed]
    return Benchmark(
        tuple(line for line, _, _ in timed),
        tuple(skipped),
        request.rounds,
        request.warmup,
        threads,
        machine(),
        _flags(request),
        {device: found.facts() for device, found in ceilings.items()},
        None if telemetry.source == "none" else telemetry.facts(),
        tuple(calls for _, _, calls in timed),
    )


def _images(batch: int, shape: Shape) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((batch, *shape), dtype=np.float32)


def _shape(manifests: Iterable[Manifest]) -> Shape:
    shapes = {
        tuple(int(manifest.evaluation["preprocess"][side]) for side in ("channels", "height", "width"))
        for manifest in manifests
    }
    if len(shapes) > 1:
        seen = " and ".join("x".join(map(str, shape)) for shape in sorted(shapes))
        raise BadInput(f"the artifacts take images of {seen}", needed="one image size to compare at")
    channels, height, width = shapes.pop()
    return channels, height, width


def _check_batches(batches: Sequence[int], artifact: Artifact, manifest: Manifest) -> None:
    smallest, _, largest = manifest.recipe["batch"]
    outside = [batch for batch in batches if not smallest <= batch <= largest]
    if outside:
        raise UsageFault(
            f"--batch {outside[0]}",
            needed=f"a batch from {smallest} to {largest}, the profile that {artifact.path} was built for",
            do="Choose another batch, or build again with --batch",
        )


def _timed(
    entries: Sequence[Entrant],
    images: npt.NDArray[np.float32],
    request: Request,
    skipped: list[Skipped],
    heard: Callable[[str], object],
) -> Iterable[tuple[Line, Entrant, tuple[TimedCall, ...]]]:
    """Warm up and time at one batch size."""
    heard(f"warming up at batch {len(images)}")
    ready = [entry for entry in entries if warmed(entry, images, request, skipped)]
    if not ready:
        return
    heard(f"timing at batch {len(images)}")
    turns = interleaved([entry.session for entry in ready], images, rounds=request.rounds, calls=request.calls)
    first = turn_times(turns[0])
    for entry, own in zip(ready, turns, strict=True):
        calls = tuple(call for turn in own for call in turn)
        yield _line(entry, len(images), calls, ratio_to(first, turn_times(own))), entry, calls


def _line(entry: Entrant, batch: int, calls: Sequence[TimedCall], ratio: Ratio) -> Line:
    who, memory = entry.contestant, entry.memory
    copy_in, compute, copy_out = phase_medians(calls)
    return Line(
        artifact=who.name,
        backend=who.backend,
        batch=batch,
        precision=who.precision,
        cuda_graph=who.cuda_graph,
        latency=latency_of(calls, *entry.warm[batch]),
        ratio=ratio,
        copy_in_ms=copy_in,
        compute_ms=compute,
        copy_out_ms=copy_out,
        device_bytes=None if memory is None else memory.device[batch],
        host_bytes=None if memory is None else memory.host[batch],
    )


def _with_share(line: Line, entry: Entrant, ceilings: Mapping[str, Ceilings]) -> Line:
    """The share of the network's own time where that is known, else of the whole call's."""
    needed = entry.workload.operations(entry.contestant, line.batch) if ceilings else ()
    if not needed:
        return line
    measured = line.compute_ms or line.latency.p50_ms
    return replace(line, roofline_share=share_of(needed, ceilings.get(entry.contestant.device), measured))


def _with_energy(line: Line, entry: Entrant, shape: Shape) -> Line:
    """Run it by itself for a while: in interleaved rounds nobody's energy is their own."""
    images = _images(line.batch, shape)
    with sampled() as sampler:
        calls = len(timed_calls(lambda: entry.session.infer(images), least_seconds=_ENERGY_SECONDS))
    return replace(line, joules_per_image=energy_per_image(sampler.telemetry(), calls * line.batch))


def _flags(request: Request) -> dict[str, Any]:
    """Everything that a time depends on and that stands nowhere else, under names that a reader of trtexec knows."""
    return {
        "calls_per_turn": request.calls,
        "warmup_seconds": request.warmup_seconds,
        "transfers": "included",
        "host_memory": "pageable; an engine copies through pinned memory of its own",
        "wait": "for the stream, spinning or not as the driver chooses",
        "streams": 1,
        "cuda_graph": request.cuda_graph,
        "tf32": False,
        "images": "standard normal, seed 0",
        "peers": list(request.peers),
        "memory": "each in a process of its own" if request.memory else "not measured",
    }
