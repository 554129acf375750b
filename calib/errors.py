"""The shape of every error a user can cause: what was seen, what was needed, what to do."""

from __future__ import annotations

__all__ = ["BadData", "ExplainedError"]


class ExplainedError(Exception):
    """An error whose message a user can act on; it is shown without a traceback.

    Args:
        seen: What was found, naming the file, key or option.
        needed: What would have been acceptable.
        do: The next step for the user.
    """

    exit_code = 1

    def __init__(self, seen: str, *, needed: str = "", do: str = "") -> None:
        self.seen, self.needed, self.do = seen, needed, do
        parts = [seen.rstrip(".") + "."]
        if needed:
            parts.append(f"Needed: {needed.rstrip('.')}.")
        if do:
            parts.append(f"{do.rstrip('.')}.")
        super().__init__(" ".join(parts))


class BadData(ExplainedError):
    """Images, labels or calibration data that cannot be used (exit status 5)."""

    exit_code = 5
