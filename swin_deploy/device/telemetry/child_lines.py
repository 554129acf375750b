"""The lines that a program prints until it is ended."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence

__all__ = ["ChildLines"]


class ChildLines:
    """A child process that prints a line now and then.

    Args:
        command: Program and arguments.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._child = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._reading = threading.Lock()

    def next_line(self) -> str | None:
        """The next line, waited for; `None` once the program has ended."""
        with self._reading:
            assert self._child.stdout is not None
            line = "" if self._child.stdout.closed else self._child.stdout.readline()
            return line.rstrip("\n") if line else None

    def close(self) -> None:
        """End the program and wait for its end; a reader that waits gets its `None`."""
        self._child.terminate()
        try:
            self._child.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        with self._reading:  # its reader has left: a program that has ended has ended its output
            assert self._child.stdout is not None
            self._child.stdout.close()
