"""Watch the board while something runs: `with sampled() as sampler: ...`, then `sampler.telemetry()`.

A thread reads the best source that there is.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swin_deploy.device.telemetry.board import board_name
from swin_deploy.device.telemetry.jetson_stats import open_jetson_stats
from swin_deploy.device.telemetry.nvidia_smi import NvidiaSmi, open_nvidia_smi
from swin_deploy.device.telemetry.nvpmodel import ask_nvpmodel, power_mode
from swin_deploy.device.telemetry.sample import Sample
from swin_deploy.device.telemetry.source import Source
from swin_deploy.device.telemetry.sysfs import open_sysfs
from swin_deploy.device.telemetry.tegrastats import Tegrastats
from swin_deploy.device.telemetry.telemetry import Telemetry, summarised
from swin_deploy.device.telemetry.throttling import ThrottleWatch

__all__ = ["Sampler", "best_source", "sampled"]

_MACHINE = Path("/")
_JOIN_SECONDS = 5.0


def best_source(interval_s: float, root: Path = _MACHINE) -> Source | None:
    """The first that answers of: jetson-stats, the kernel's own files, tegrastats, nvidia-smi.

    tegrastats reads what the kernel's files say, in a process of its own, so it is for where their rails are not to be
    seen: in a container, or with the drivers of JetPack 4.

    Args:
        interval_s: Seconds between samples.
        root: Below another than `/` only files are read, and no program is asked.
    """
    kernel = open_sysfs(root)
    if root != _MACHINE:
        return kernel
    connected = open_jetson_stats(interval_s)
    if connected is not None:
        return connected
    if kernel is not None and kernel.has_rails:
        return kernel
    tegrastats, nvidia_smi = shutil.which("tegrastats"), shutil.which("nvidia-smi")
    if tegrastats is not None:
        return Tegrastats(tegrastats, interval_s)
    # A Jetson's nvidia-smi knows no rail.
    return open_nvidia_smi(nvidia_smi, interval_s) if kernel is None and nvidia_smi is not None else kernel


class Sampler:
    """Collects samples from its making until `close`; `sampled` makes and closes it."""

    def __init__(self, source: Source | None, interval_s: float, root: Path) -> None:
        self._source, self._interval_s = source, interval_s
        self._watch = ThrottleWatch(root)
        self._board, self._mode = board_name(root), power_mode(root, ask_nvpmodel if root == _MACHINE else None)
        self._seconds: list[float] = []
        self._samples: list[Sample] = []
        self._notes: list[str] = []
        self._stop = threading.Event()
        self._begin = time.monotonic()
        self._end: float | None = None
        self._thread: threading.Thread | None = None
        if source is not None:
            if isinstance(source, NvidiaSmi):
                self._board = self._board or source.gpu
            self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
            self._thread.start()

    def telemetry(self) -> Telemetry:
        """What was seen so far, or in all once it is closed. With no source: a telemetry of the source `none`."""
        end = self._end or time.monotonic()
        if self._source is None:
            return Telemetry("none", self._board, self._mode, seconds=end - self._begin)
        count = len(self._samples)  # the thread adds the time stamp first
        return summarised(
            self._source.name,
            self._seconds[:count],
            self._samples[:count],
            self._begin,
            end,
            board=self._board,
            power_mode=self._mode,
            throttled=self._watch.sentences(),
            notes=self._notes,
        )

    def close(self) -> None:
        """Stop watching."""
        self._end = time.monotonic()
        self._stop.set()
        if self._source is not None and self._thread is not None:
            if self._source.paces_itself:
                self._close(self._source)  # wakes a thread that waits for the next sample
                self._thread.join(_JOIN_SECONDS)
            else:
                self._thread.join(_JOIN_SECONDS)
                self._close(self._source)

    def _close(self, source: Source) -> None:
        try:
            source.close()
        except Exception as error:  # as little as a read may it take along what was watched
            self._notes.append(f"{source.name} did not close: {error}")

    def _run(self) -> None:
        """The thread. Whatever a sensor does must not end what is being watched, so it ends up as a note."""
        assert self._source is not None
        try:
            while not self._stop.is_set():
                sample = self._source.read()
                if sample is None:
                    break
                self._seconds.append(time.monotonic())
                self._samples.append(sample)
                self._watch.look()
                if not self._source.paces_itself:
                    self._stop.wait(self._interval_s)
        except Exception as error:
            self._notes.append(f"{self._source.name} stopped answering: {error}")
        if not self._stop.is_set() and not self._notes:
            self._notes.append(f"{self._source.name} ended before what was watched.")


@contextmanager
def sampled(interval_s: float = 0.1, *, root: Path = _MACHINE, source: Source | None = None) -> Iterator[Sampler]:
    """Watch the board while the block runs.

    Args:
        interval_s: Seconds between samples.
        root: Where the kernel's files lie.
        source: What to read; `None` for the best that there is.

    Yields:
        A sampler whose `telemetry` can be asked at any time, and holds still once the block has ended.
    """
    assert interval_s > 0, "no time between samples"
    sampler = Sampler(source or best_source(interval_s, root), interval_s, root)
    try:
        yield sampler
    finally:
        sampler.close()
