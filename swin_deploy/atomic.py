"""Write files so that nothing half-written ever stands under its final name."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from swin_deploy.errors import EnvironmentFault, ExplainedError

__all__ = ["disk_faults", "file_sha256", "replacing", "write_bytes", "write_text"]

_DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
# A file stands where the folder should be, or a folder where the file should be, or the name is too long for the disk.
_PLACE_ERRNOS = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})
_NOTHING_LEFT = 64 << 10  # bytes
# How libraries that write with native code word a refusal of the disk, in exceptions of their own.
_DISK_WORDS = tuple(os.strerror(number).lower() for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS))


@contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Turn a refusal of the operating system to write `path` into an `EnvironmentFault`."""
    try:
        yield
    except ExplainedError:
        raise
    except Exception as error:
        reason = _refusal(error, path)
        if reason is None:
            raise
        raise EnvironmentFault(
            f"{path} could not be written: {reason}",
            needed="a folder that can be written, with enough free space",
            do="Free space or choose another folder with --out; --resume then goes on from the last good stage",
        ) from error


def _refusal(error: Exception, path: Path) -> str | None:
    """What the disk refused, or `None` if it was not the disk."""
    if isinstance(error, OSError):
        if error.errno in _DISK_ERRNOS | _PLACE_ERRNOS or isinstance(error, PermissionError):
            return error.strerror or str(error)
        return None
    text = str(error).lower()
    if any(words in text for words in _DISK_WORDS):
        return str(error).splitlines()[-1]
    # A native writer that only says that it failed: a disk with nothing left is reason enough.
    folder = next(parent for parent in (path.parent, *path.absolute().parents) if parent.is_dir())
    return "the disk is full" if shutil.disk_usage(folder).free < _NOTHING_LEFT else None


@contextmanager
def replacing(final: Path) -> Iterator[Path]:
    """Yield a temporary path beside `final`; on success it is flushed to disk and renamed to `final`.

    The temporary name keeps the suffix, since several writers choose the format by it. On any failure the
    temporary file is removed and an earlier `final` stays as it was.

    Raises:
        EnvironmentFault: the disk is full, read-only or not writable.
    """
    temporary = final.with_name(f".partial-{os.getpid()}-{final.name}")
    try:
        with disk_faults(final):
            final.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            temporary.replace(final)
    finally:
        with suppress(OSError):  # where not even the name was accepted, and never in place of the error itself
            temporary.unlink(missing_ok=True)


def write_text(final: Path, text: str) -> None:
    """Write `text` as UTF-8 through `replacing`."""
    with replacing(final) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(final: Path, content: bytes) -> None:
    """Write `content` through `replacing`."""
    with replacing(final) as temporary:
        temporary.write_bytes(content)


def file_sha256(path: Path) -> str:
    """The file's SHA-256 as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
