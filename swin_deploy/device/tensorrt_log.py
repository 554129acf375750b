"""TensorRT's log, kept in memory: its answers are `None` or `False`, and the reason is only in the log."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["CapturedLog", "captured_log", "tells_of_exhausted_memory"]

# TensorRT's error code, the exceptions beneath it, and CUDA's own name for it.
_MEMORY_WORDS = ("outofmemory", "out of memory", "bad_alloc", "memoryallocation", "insufficient workspace")


class CapturedLog(Protocol):
    """A TensorRT `ILogger` that keeps (severity name, message) pairs."""

    lines: list[tuple[str, str]]

    def text(self) -> str:
        """All messages, one after the other."""
        ...

    def errors(self, last: int = 5) -> str:
        """The last error messages in one line, or an empty string."""
        ...

    def warnings(self) -> tuple[str, ...]:
        """Each different warning once, in order."""
        ...


def tells_of_exhausted_memory(errors: str) -> bool:
    """Whether error messages say that the GPU's memory, or the machine's, did not suffice."""
    return any(word in errors.lower() for word in _MEMORY_WORDS)


def captured_log(trt: Any, *, echo_errors_to: Any = None) -> CapturedLog:
    """A logger of the imported module `trt`; TensorRT objects made with it must not outlive it.

    Args:
        trt: The imported `tensorrt` or `tensorrt_rtx`.
        echo_errors_to: A text stream that gets errors at once, so that they survive a crash of the process.
    """

    class _Captured(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            # pybind11 does not chain through super() here: the base must be initialised by name.
            trt.ILogger.__init__(self)
            self.lines: list[tuple[str, str]] = []

        def log(self, severity: Any, message: str) -> None:
            # The member's name, since its value and its text differ between versions.
            name = str(getattr(severity, "name", severity))
            self.lines.append((name, message))
            if echo_errors_to is not None and name.endswith("ERROR"):
                print(message, file=echo_errors_to, flush=True)

        def text(self) -> str:
            return "\n".join(message for _, message in self.lines)

        def errors(self, last: int = 5) -> str:
            found = [" ".join(message.split()) for name, message in self.lines if name.endswith("ERROR")]
            return "; ".join(dict.fromkeys(found[-last:]))

        def warnings(self) -> tuple[str, ...]:
            return tuple(dict.fromkeys(message for name, message in self.lines if name.endswith("WARNING")))

    log: CapturedLog = _Captured()
    return log
