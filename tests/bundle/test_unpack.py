"""An archive from anybody is unpacked into its own folder or not at all."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swin_deploy.bundle.unpack import unpacked
from swin_deploy.errors import BadInput, UsageFault


def rewritten(archive: Path, out: Path, **changes: Any) -> Path:
    """The archive with one entry more."""
    with tarfile.open(archive) as source, tarfile.open(out, "w") as made:
        for member in source.getmembers():
            made.addfile(member, source.extractfile(member) if member.isfile() else None)
        entry = tarfile.TarInfo(changes.pop("name"))
        content = changes.pop("content", b"")
        entry.size = len(content)
        for key, value in changes.items():
            setattr(entry, key, value)
        made.addfile(entry, io.BytesIO(content) if entry.isfile() else None)
    return out


@pytest.fixture
def archive(packed: Callable[[str], Path]) -> Path:
    return packed("rtx")


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"name": "../evil.txt", "content": b"x"}, "outside of it"),
        ({"name": "/tmp/evil.txt", "content": b"x"}, "outside of it"),
        ({"name": "tiny_v1-rtx/../../evil.txt", "content": b"x"}, "outside of it"),
        ({"name": "tiny_v1-rtx/link", "type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "a link or device"),
        (
            {"name": "tiny_v1-rtx/link", "type": tarfile.LNKTYPE, "linkname": "tiny_v1-rtx/runner.py"},
            "a link or device",
        ),
        ({"name": "tiny_v1-rtx/pipe", "type": tarfile.FIFOTYPE}, "a link or device"),
        ({"name": "other/file", "content": b"x"}, "2 folders"),
    ],
)
def test_an_entry_that_a_bundle_does_not_have_is_status_5_and_nothing_is_written(
    entry: dict[str, Any], named: str, archive: Path, tmp_path: Path
) -> None:
    bad = rewritten(archive, tmp_path / "bad.tar", **entry)
    with pytest.raises(BadInput, match=named) as caught:
        unpacked(bad, tmp_path / "into")
    assert caught.value.exit_code == 5
    assert not (tmp_path / "into").exists()
    assert not (tmp_path / "evil.txt").exists()


def test_an_unpacked_bundle_is_kept_with_what_was_finished_in_it(archive: Path, tmp_path: Path) -> None:
    folder = unpacked(archive, tmp_path)
    (folder / "finished").mkdir()
    (folder / "finished/fp16.plan").write_bytes(b"hours of work")
    assert unpacked(archive, tmp_path) == folder
    assert (folder / "finished/fp16.plan").is_file()


def test_another_bundle_in_the_place_is_not_overwritten(archive: Path, tmp_path: Path) -> None:
    folder = unpacked(archive, tmp_path)
    (folder / "bundle.json").write_text((folder / "bundle.json").read_text() + " ")
    with pytest.raises(UsageFault, match="is another bundle"):
        unpacked(archive, tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an archive"])
def test_what_is_no_archive_is_status_5(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(BadInput):
        unpacked(tmp_path / "x.tar", tmp_path / "into")
    with pytest.raises(BadInput):
        unpacked(tmp_path / "none.tar", tmp_path / "into")


def test_a_truncated_archive_is_status_5(archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    (tmp_path / "x.tar").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput):
        unpacked(tmp_path / "x.tar", tmp_path / "into")


def test_an_archive_without_bundle_json_is_status_5(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as made:
        made.addfile(tarfile.TarInfo("folder/file"), io.BytesIO())
    with pytest.raises(BadInput, match=r"no bundle\.json"):
        unpacked(tmp_path / "x.tar", tmp_path / "into")


def test_a_sparse_file_is_refused_before_its_size_is_taken(archive: Path, tmp_path: Path) -> None:
    size = str(1 << 40)
    bad = rewritten(
        archive, tmp_path / "bad.tar", name="tiny_v1-rtx/huge",
        pax_headers={"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,0",
                     "GNU.sparse.size": size, "GNU.sparse.name": "tiny_v1-rtx/huge"},
    )  # fmt: skip
    with pytest.raises(BadInput, match="sparse file"):
        unpacked(bad, tmp_path / "into")


def test_a_name_with_control_characters_is_refused(archive: Path, tmp_path: Path) -> None:
    bad = rewritten(archive, tmp_path / "bad.tar", name="x", pax_headers={"path": "tiny_v1-rtx/a\0b"})
    with pytest.raises(BadInput):
        unpacked(bad, tmp_path / "into")


def test_an_interrupted_call_can_be_repeated(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from swin_deploy.bundle import unpack

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(unpack, "read_bundle", interrupted)
        unpacked(archive, tmp_path / "into")
    assert not list((tmp_path / "into").iterdir())
    assert unpacked(archive, tmp_path / "into").is_dir()


def test_a_runner_that_was_cut_short_is_not_run(archive: Path, tmp_path: Path) -> None:
    from cli.main import status_of

    folder = unpacked(archive, tmp_path)
    (folder / "runner.py").write_text("")
    assert status_of(["finish", str(folder), "--no-bench"]) == 5


def test_an_archive_that_is_not_there_is_said_not_to_be(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.tar does not exist"):
        unpacked(tmp_path / "none.tar", tmp_path)
