"""Write files so that nothing half-written ever stands under its final name."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swin_deploy.errors import EnvironmentFault

__all__ = ["disk_faults", "file_sha256", "replacing", "write_text"]

_DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
# A file stands where the folder should be, or a folder where the file should be, or the name is too long for the disk.
_PLACE_ERRNOS = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})


@contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Turn an operating-system refusal to write `path` into an `EnvironmentFault`."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_ERRNOS | _PLACE_ERRNOS or isinstance(error, PermissionError):
            raise EnvironmentFault(
                f"{path} could not be written: {error.strerror or error}",
                needed="a folder that can be written, with enough free space",
                do="Free space or choose another folder with --out; --resume then goes on from the last good stage",
            ) from error
        raise


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
        temporary.unlink(missing_ok=True)


def write_text(final: Path, text: str) -> None:
    """Write `text` as UTF-8 through `replacing`."""
    with replacing(final) as temporary:
        temporary.write_text(text, encoding="utf-8")


def file_sha256(path: Path) -> str:
    """The file's SHA-256 as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
