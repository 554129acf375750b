"""Peak memory of one contestant, measured in a process that does nothing else.

Within one process the peaks of several artifacts cannot be told apart: what one has freed another takes over, and
PyTorch keeps what it once had.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swin_deploy.benchmark.contestant import Contestant
from swin_deploy.errors import EnvironmentFault

__all__ = ["PeakMemory", "peak_memory", "resident_peak"]

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class PeakMemory:
    """Peaks by batch size, each with that batch size as the largest so far.

    Attributes:
        host: Resident bytes of the whole process, interpreter and libraries included; `None` where the system does not
            tell.
        device: Bytes of GPU memory: of an engine what it and its context hold, of PyTorch its allocator's peak; `None`
            without a GPU.
    """

    host: Mapping[int, int | None]
    device: Mapping[int, int | None]


def peak_memory(contestant: Contestant, shape: tuple[int, int, int], batches: Sequence[int]) -> PeakMemory:
    """Open `contestant` in a fresh process and call it at each batch size.

    Args:
        contestant: It is sent to the process.
        shape: Channels, height and width of its images.
        batches: Batch sizes.

    Raises:
        EnvironmentFault: the process died.
        ExplainedError: what opening or calling raised there.
    """
    # Spawned, not forked: a copy of this process would have this process's memory for its peak.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_measured, contestant, shape, sorted(batches)).result()
        except BrokenProcessPool as error:
            raise EnvironmentFault(
                f"the process that measured the memory of {contestant.name} died",
                needed="enough memory for it alone",
                do="Choose smaller batches, or --no-memory",
            ) from error


def resident_peak(status: Path = _STATUS) -> int | None:
    """The most bytes that this process ever had resident, `None` where there is no such file.

    Not `getrusage`: its maximum is inherited from the parent, which may have been the larger one.
    """
    try:
        lines = status.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def _measured(contestant: Contestant, shape: tuple[int, int, int], batches: Sequence[int]) -> PeakMemory:
    host, device = {}, {}
    with contestant.open() as session:
        for batch in batches:
            images = np.zeros((batch, *shape), np.float32)
            for _ in range(2):
                session.infer(images)
            host[batch], device[batch] = resident_peak(), _device_peak(session)
    return PeakMemory(host, device)


def _device_peak(session: Any) -> int | None:
    if hasattr(session, "device_bytes"):
        held = session.device_bytes()
        return None if held is None else int(held)
    torch = sys.modules.get("torch")  # a session that did not import it has nothing on the GPU through it
    return int(torch.cuda.max_memory_allocated()) if torch is not None and torch.cuda.is_available() else None
