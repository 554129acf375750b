"""The file that keeps how long kernels took, so that the next build of the same model asks for minutes less.

Times hold for one version and one GPU, and the content is read by native code, so a line above it says whose it is and
what its hash is. What does not fit, or is damaged, is never handed on: the build then starts from nothing.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from swin_deploy.atomic import write_bytes

__all__ = ["read_timing_cache", "write_timing_cache"]

_SCHEMA = 1


def read_timing_cache(path: Path, bound_to: str) -> tuple[bytes, str | None]:
    """The content of the cache at `path`, or nothing; and why a file that is there was ignored.

    Args:
        path: The file; one that is missing is no reason for anything.
        bound_to: The version and the GPU that the times must be of.
    """
    if not path.exists():
        return b"", None
    try:
        header, _, content = path.read_bytes().partition(b"\n")
        said = json.loads(header)
        schema, owner, digest = said["schema"], said["bound_to"], said["sha256"]
    except OSError as error:
        return b"", f"the timing cache {path} was ignored: {error.strerror}"
    except (ValueError, TypeError, KeyError):
        return b"", f"the timing cache {path} was ignored: it is not one of ours"
    if schema != _SCHEMA or owner != bound_to:
        return b"", f"the timing cache {path} was ignored: it is of {owner}, and this is {bound_to}"
    if digest != hashlib.sha256(content).hexdigest():
        return b"", f"the timing cache {path} was ignored: it is damaged"
    return content, None


def write_timing_cache(path: Path, bound_to: str, content: bytes) -> None:
    """Put `content` into `path`, whole or not at all.

    Raises:
        EnvironmentFault: the disk refuses.
    """
    said = {"schema": _SCHEMA, "bound_to": bound_to, "sha256": hashlib.sha256(content).hexdigest()}
    write_bytes(path, json.dumps(said, sort_keys=True).encode("utf-8") + b"\n" + content)
