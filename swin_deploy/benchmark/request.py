"""What a benchmark is asked to time, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.benchmark.peers import check_peers
from swin_deploy.errors import UsageFault

__all__ = ["CUDA_GRAPHS", "Request"]

CUDA_GRAPHS: Mapping[str, tuple[bool, ...]] = {"off": (False,), "on": (True,), "both": (False, True)}
"""Values of `--cuda-graph`."""


@dataclass(frozen=True)
class Request:
    """What to time and how.

    Attributes:
        paths: Files of runs; they must take images of one size. The first one that runs is what others are compared to.
        batches: Batch sizes.
        peers: Some of `PEERS`, of the first file's run.
        peer_precisions: `fp32`, `fp16`, `bf16`; by default those of the files, FP16 for a quantized one.
        rounds: How often each has its turn.
        calls: Calls of a turn.
        warmup: Calls in a window of warm-up, at least.
        warmup_seconds: Give up waiting for a steady state after so long, for each contestant and batch size.
        threads: CPU threads; by default one a core that this process may use.
        cuda_graph: One of `CUDA_GRAPHS`, for engines and for torch.compile on a GPU.
        memory: Measure peak memory, each contestant in a process of its own.
        roofline: Measure the ceilings and give shares of them.
    """

    paths: tuple[Path, ...]
    batches: tuple[int, ...] = (1,)
    peers: tuple[str, ...] = ()
    peer_precisions: tuple[str, ...] = ()
    rounds: int = 20
    calls: int = 5
    warmup: int = 5
    warmup_seconds: float = 5.0
    threads: int | None = None
    cuda_graph: str = "both"
    memory: bool = True
    roofline: bool = True

    def __post_init__(self) -> None:
        """Refuse names that nothing goes by.

        Raises:
            UsageFault: with the names that there are.
        """
        check_peers(self.peers)
        for precision in self.peer_precisions:
            if precision not in ("fp32", "fp16", "bf16"):
                raise UsageFault(f"--peer-precision {precision}", needed="some of fp32,fp16,bf16")
        if self.cuda_graph not in CUDA_GRAPHS:
            raise UsageFault(f"--cuda-graph {self.cuda_graph}", needed=" or ".join(CUDA_GRAPHS))
