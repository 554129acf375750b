"""Who takes part: artifacts and peers as contestants, opened and warmed up; and who does not, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swin_deploy.artifact import Artifact, Precision
from swin_deploy.backends.base import Session
from swin_deploy.benchmark.contestant import PLANS, ArtifactContestant, Contestant
from swin_deploy.benchmark.peak_memory import PeakMemory, peak_memory
from swin_deploy.benchmark.peers import peers_of
from swin_deploy.benchmark.request import CUDA_GRAPHS, Request
from swin_deploy.benchmark.workload import Workload
from swin_deploy.device.benchmark_line import Skipped
from swin_deploy.device.latency import warm_up
from swin_deploy.errors import ExplainedError
from swin_deploy.manifest import Manifest
from swin_deploy.plan import ORACLE
from swin_deploy.validation import artifact_of

__all__ = ["Entrant", "artifact_contestants", "entrants", "peer_contestants", "warmed"]

Shape = tuple[int, int, int]


@dataclass
class Entrant:
    """A contestant that opened.

    Attributes:
        contestant: What it is.
        session: Its session.
        memory: Its peaks, `None` where they were not asked for.
        workload: What it has to do.
        excused: Whether its failure is a finding and no error: it is a peer.
        warm: By batch size: the calls of its warm-up, and whether it became steady.
    """

    contestant: Contestant
    session: Session
    memory: PeakMemory | None
    workload: Workload
    excused: bool
    warm: dict[int, tuple[int, bool]] = field(default_factory=dict)


def artifact_contestants(
    artifacts: Sequence[Artifact], threads: int, graphs: Sequence[bool]
) -> list[Contestant | Skipped]:
    """The files, each engine without a CUDA graph, with one, or both."""
    found: list[Contestant | Skipped] = []
    for artifact in artifacts:
        wanted = graphs if artifact.format in PLANS else (False,)
        found += [ArtifactContestant(artifact, threads, cuda_graph=graph) for graph in wanted]
    return found


def peer_contestants(
    request: Request, artifacts: Sequence[Artifact], manifest: Manifest, folder: Path, threads: int
) -> list[Contestant | Skipped]:
    """The peers that `request` names, of the first artifact's run, in the precisions of all.

    Args:
        request: What was asked for.
        artifacts: The files.
        manifest: That of the first one.
        folder: Where exports go; it has to live as long as the contestants.
        threads: CPU threads.
    """
    if not request.peers:
        return []
    record = manifest.step(ORACLE)
    oracle = (record and record.file) or "reference.safetensors"
    reference, _, _ = artifact_of(artifacts[0].path.parent / oracle)
    rivals = {precision.value: "fp16" if precision.quantized else precision.value for precision in Precision}
    own = dict.fromkeys(rivals[artifact.precision.value] for artifact in artifacts)
    smallest, usual, largest = (int(size) for size in manifest.recipe["batch"])
    found: list[Contestant | Skipped] = []
    for precision in request.peer_precisions or own:
        found += peers_of(
            request.peers,
            reference,
            precision,
            batch=(smallest, usual, largest),
            folder=folder,
            threads=threads,
            graphs=CUDA_GRAPHS[request.cuda_graph],
        )
    return found


def entrants(
    contestants: Iterable[Contestant],
    request: Request,
    workloads: Mapping[Path, Workload],
    shape: Shape,
    stack: ExitStack,
    skipped: list[Skipped],
    heard: Callable[[str], object],
) -> Iterable[Entrant]:
    """Open those that can be opened here; the others join `skipped`, each once."""
    for contestant in contestants:
        # A peer's failure is a finding about the peer; an artifact of ours that fails is an error.
        own = isinstance(contestant, ArtifactContestant) and not contestant.label
        excused = not own
        home = contestant.artifact.path.parent if isinstance(contestant, ArtifactContestant) and own else None
        workload = workloads[home or request.paths[0].parent]
        heard(f"opening {contestant.name} ({contestant.backend}, {contestant.precision})")
        reason = contestant.unavailable()
        memory = None
        session = None
        if reason is None:
            try:
                memory = peak_memory(contestant, shape, request.batches) if request.memory else None
                session = stack.enter_context(contestant.open())
            except Exception as error:
                if not excused:
                    raise
                reason = _said(error)
        if session is None:
            assert reason is not None
            entry = Skipped(contestant.name, contestant.backend, contestant.precision, reason)
            skipped += [] if entry in skipped else [entry]
        else:
            yield Entrant(contestant, session, memory, workload, excused)


def warmed(entry: Entrant, images: Any, request: Request, skipped: list[Skipped]) -> bool:
    """Call it until it is steady; a peer that fails at this batch size joins `skipped`."""
    batch = len(images)
    try:
        # The first call compiles, or makes a CUDA graph, and must not eat the warm-up's time.
        entry.session.infer(images)
        entry.warm[batch] = warm_up(
            lambda: entry.session.infer(images), least_calls=request.warmup, most_seconds=request.warmup_seconds
        )
    except Exception as error:
        if not entry.excused:
            raise
        who = entry.contestant
        skipped.append(Skipped(who.name, who.backend, who.precision, f"at batch {batch}: {_said(error)}"))
        return False
    return True


def _said(error: Exception) -> str:
    text = str(error).strip().splitlines() or [""]
    return text[0] if isinstance(error, ExplainedError) else f"{type(error).__name__}: {text[0]}"
