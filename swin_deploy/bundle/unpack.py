"""Unpack an archive that may come from anybody: nothing is written outside its folder, and nothing but plain files."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

from swin_deploy.atomic import disk_faults, write_bytes
from swin_deploy.device.bundle_file import BUNDLE_FILE, read_bundle
from swin_deploy.errors import BadInput, UsageFault

__all__ = ["unpacked"]

_DO = "Copy the archive again; one that swin-deploy bundle wrote has no such entry"


def unpacked(archive: Path, into: Path) -> Path:
    """The folder of a bundle, unpacked below `into` unless it is there already.

    What a bundle's folder gained since, such as finished engines, stays.

    Args:
        archive: What `pack` wrote.
        into: Where the archive's own folder goes.

    Raises:
        BadInput: no archive, or one with entries that a bundle does not have.
        UsageFault: another bundle, or something else, stands in the place.
        EnvironmentFault: the disk refuses.
    """
    if not archive.is_file():
        raise BadInput(f"{archive} does not exist", needed="a file of swin-deploy bundle, or its unpacked folder")
    try:
        with tarfile.open(archive, "r:") as opened:
            return _unpacked(opened, archive, into)
    except (tarfile.TarError, EOFError) as error:
        raise BadInput(
            f"{archive} cannot be read as an archive: {error}", needed="a file of swin-deploy bundle"
        ) from error


def _unpacked(opened: tarfile.TarFile, archive: Path, into: Path) -> Path:
    members = opened.getmembers()
    for member in members:
        parts = member.name.split("/")
        inside = not member.name.startswith("/") and not set(parts) & {"", ".", ".."} and "\\" not in member.name
        inside = inside and member.name.isprintable()
        # A sparse file is as large as its entry says, however small the archive.
        if not inside or member.issparse() or not (member.isfile() or member.isdir()):
            kind = "a link or device, or a sparse file" if inside else "outside of it"
            raise BadInput(f"{archive} holds {member.name!r}, {kind}", needed="files and folders inside", do=_DO)
    tops = {member.name.split("/")[0] for member in members}
    if len(tops) != 1:
        raise BadInput(f"{archive} holds {len(tops)} folders", needed="one folder", do=_DO)
    folder = into / tops.pop()
    head = next((entry for entry in members if entry.name == f"{folder.name}/{BUNDLE_FILE}"), None)
    if head is None:
        raise BadInput(f"{archive} holds no {BUNDLE_FILE}", needed="a file of swin-deploy bundle")
    wanted = _content(opened, head)
    if (folder / BUNDLE_FILE).is_file() and (folder / BUNDLE_FILE).read_bytes() == wanted:
        read_bundle(folder)
        return folder
    if folder.exists():
        raise UsageFault(f"{folder} exists and is another bundle", needed="an empty place", do="Choose another --into")
    # Under another name until it is whole: an interrupted call can then be repeated.
    scratch = into / f".partial-{os.getpid()}"
    try:
        with disk_faults(folder):
            for member in members:
                if member.isdir():
                    (scratch / member.name).mkdir(parents=True, exist_ok=True)
                else:
                    write_bytes(scratch / member.name, _content(opened, member))
            write_bytes(scratch / folder.name / BUNDLE_FILE, wanted)  # an archive may hold two of that name
            read_bundle(scratch / folder.name)
            (scratch / folder.name).replace(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _content(opened: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = opened.extractfile(member)
    assert file is not None, "checked to be a file"
    return file.read()
