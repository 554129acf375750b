"""Other ways to run the same checkpoint, to compare with: PyTorch eager and compiled, and two naive exports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.base import Session
from swin_deploy.backends.torch_compile import no_cpp_compiler
from swin_deploy.backends.torch_session import TorchSession, torch_device
from swin_deploy.benchmark.contestant import ArtifactContestant, Contestant
from swin_deploy.benchmark.naive_export import naive_engine, naive_graph
from swin_deploy.device.benchmark_line import Skipped
from swin_deploy.errors import UsageFault

__all__ = ["PEERS", "TorchPeer", "check_peers", "peers_of"]

PEERS = ("eager", "torch.compile", "onnxruntime", "naive-tensorrt")
"""Their names on the command line."""
_SHOWN = {"onnxruntime": "onnxruntime, naive export", "naive-tensorrt": "TensorRT, naive export"}
_BACKENDS = {"onnxruntime": "onnxruntime", "naive-tensorrt": "tensorrt"}


@dataclass(frozen=True)
class TorchPeer:
    """The paper form in PyTorch.

    Attributes:
        reference: The run's oracle.
        precision: `fp32`, or `fp16` or `bf16` by rounding the whole module.
        threads: CPU threads.
        compiled: By `torch.compile`, anew for each batch size, which is what gives it its best times.
        cuda_graph: Compiled in the mode `reduce-overhead`, which replays CUDA graphs.
    """

    reference: Artifact
    precision: str
    threads: int
    compiled: bool = False
    cuda_graph: bool = False

    @property
    def name(self) -> str:
        """See `Contestant.name`."""
        return "torch.compile" if self.compiled else "eager"

    @property
    def backend(self) -> str:
        """See `Contestant.backend`."""
        return "torch.compile" if self.compiled else "torch"

    @property
    def device(self) -> str:
        """See `Contestant.device`."""
        return torch_device()

    @property
    def floats(self) -> str:
        """See `Contestant.floats`."""
        return self.precision

    def unavailable(self) -> str | None:
        """See `Contestant.unavailable`."""
        if self.reference.format is Format.CAPTURED and self.precision != "fp32":
            return "a captured network has its types written into its graph, so that it cannot be rounded as a module"
        return no_cpp_compiler() if self.compiled else None

    def open(self) -> Session:
        """See `Contestant.open`."""
        import torch

        from swin_deploy.model.network import open_network
        from swin_deploy.model.rounded import Rounded
        from swin_deploy.torch_versions import quiet_inductor

        torch.set_num_threads(self.threads)
        network = open_network(self.reference, self.device, paper=True)
        types = {"fp16": torch.float16, "bf16": torch.bfloat16}
        module = network.module if self.precision == "fp32" else Rounded(network.module, types[self.precision]).eval()
        if not self.compiled:
            return TorchSession(module, self.device, network.outputs)
        quiet_inductor()
        mode = "reduce-overhead" if self.cuda_graph else "default"
        return TorchSession(torch.compile(module, dynamic=False, mode=mode), self.device, network.outputs)


def check_peers(names: Sequence[str]) -> None:
    """Refuse a name that is none of `PEERS`.

    Raises:
        UsageFault: with the names that there are.
    """
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise UsageFault(f"--peers {unknown[0]}", needed=f"some of {','.join(PEERS)}")


def peers_of(
    names: Sequence[str],
    reference: Artifact,
    precision: str,
    *,
    batch: tuple[int, int, int],
    folder: Path,
    threads: int,
    graphs: Sequence[bool],
) -> list[Contestant | Skipped]:
    """The peers of one precision.

    Args:
        names: Some of `PEERS`.
        reference: The run's oracle.
        precision: `fp32`, `fp16` or `bf16`.
        batch: Smallest, usual and largest batch.
        folder: Where graphs and plans go; it has to live as long as the contestants.
        threads: CPU threads.
        graphs: Without a CUDA graph, with one, or both, where a peer can.

    Returns:
        What can be tried, and what cannot be, with the reason.
    """
    found: list[Contestant | Skipped] = []
    for name in names:
        if name == "eager":
            found.append(TorchPeer(reference, precision, threads))
        elif name == "torch.compile":
            wanted = graphs if torch_device() == "cuda" else (False,)
            found += [TorchPeer(reference, precision, threads, compiled=True, cuda_graph=graph) for graph in wanted]
        else:
            found += _exported(name, reference, Precision(precision), batch, folder, threads, graphs)
    return found


def _exported(
    name: str,
    reference: Artifact,
    precision: Precision,
    batch: tuple[int, int, int],
    folder: Path,
    threads: int,
    graphs: Sequence[bool],
) -> list[Contestant | Skipped]:
    label, backend = _SHOWN[name], _BACKENDS[name]
    if reference.format is Format.CAPTURED and precision is not Precision.FP32:
        reason = TorchPeer(reference, precision.value, threads).unavailable()
        assert reason is not None
        return [Skipped(label, backend, precision.value, reason)]
    try:
        if name == "onnxruntime":
            graph = naive_graph(reference, precision, folder, batch[2])
            return [ArtifactContestant(graph, threads, label)]
        plan, words = naive_engine(reference, precision, folder, batch)
    except Exception as error:  # an exporter's or a builder's own kinds: that a naive way fails is a finding
        lines = str(error).strip().splitlines() or [""]
        return [Skipped(label, backend, precision.value, f"{type(error).__name__}: {lines[0]}")]
    contestants = [ArtifactContestant(plan, threads, label, graph) for graph in graphs]
    reason = contestants[0].unavailable()
    if reason is not None:
        return [Skipped(label, contestants[0].backend, precision.value, f"{words}; not executed: {reason}")]
    return list(contestants)
