"""Nothing half-written under a final name, and a disk's refusal as status 6."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from swin_deploy.atomic import disk_faults, file_sha256, replacing, write_text
from swin_deploy.errors import BadInput, EnvironmentFault


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_under_its_final_name(tmp_path: Path) -> None:
    with replacing(tmp_path / "model.onnx") as temporary:
        temporary.write_bytes(b"half")
        assert not (tmp_path / "model.onnx").exists()
        temporary.write_bytes(b"whole")
    assert (tmp_path / "model.onnx").read_bytes() == b"whole"
    assert names(tmp_path) == ["model.onnx"]


def test_the_temporary_name_keeps_the_suffix_and_the_folder_and_is_hidden(tmp_path: Path) -> None:
    with replacing(tmp_path / "model.fp16.onnx") as temporary:
        temporary.touch()
        assert (temporary.parent, temporary.suffix, temporary.name[0]) == (tmp_path, ".onnx", ".")


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "note.txt", "text")
    assert (tmp_path / "a" / "b" / "note.txt").read_text() == "text"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, OSError])
def test_on_failure_the_temporary_file_is_removed_and_the_earlier_file_kept(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    (tmp_path / "file").write_text("earlier")
    with pytest.raises(failure), replacing(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise failure
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "earlier"


def test_on_failure_without_an_earlier_file_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), replacing(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert names(tmp_path) == []


def test_a_writer_that_wrote_nothing_is_our_own_bug_and_leaves_the_earlier_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("earlier")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "earlier"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES])
def test_a_refusal_of_the_disk_is_a_fault_of_the_environment_that_names_the_file(tmp_path: Path, number: int) -> None:
    with pytest.raises(EnvironmentFault, match=r"model\.onnx could not be written") as caught:  # noqa: SIM117
        with replacing(tmp_path / "model.onnx") as temporary:
            temporary.write_bytes(b"half")
            raise OSError(number, os.strerror(number))
    assert caught.value.exit_code == 6
    assert os.strerror(number) in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_native_writers_own_exception_is_known_by_the_words_of_the_system(tmp_path: Path, number: int) -> None:
    class NativeError(Exception): ...

    with pytest.raises(EnvironmentFault, match=os.strerror(number)), replacing(tmp_path / "a.safetensors") as temporary:
        temporary.write_bytes(b"half")
        raise NativeError(f"I/O error: {os.strerror(number)} (os error {number})")
    assert names(tmp_path) == []


def test_an_explained_error_of_the_writer_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the checkpoint"), replacing(tmp_path / "a.onnx"):
        raise BadInput("the checkpoint says: No space left on device")


def test_other_errors_of_the_operating_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError), disk_faults(tmp_path):
        raise ConnectionResetError


def test_a_file_where_the_folder_should_be_is_said_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(EnvironmentFault, match="could not be written"):
        write_text(tmp_path / "taken" / "manifest.json", "{}")
    with pytest.raises(EnvironmentFault, match="could not be written"), disk_faults(tmp_path / "taken"):
        (tmp_path / "taken").mkdir(parents=True, exist_ok=True)


def test_a_folder_where_the_file_should_be_is_said_and_stays(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(EnvironmentFault, match="could not be written"):
        write_text(tmp_path / "manifest.json", "{}")
    assert names(tmp_path) == ["manifest.json"]


def test_a_name_that_is_too_long_is_said(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="could not be written"):
        write_text(tmp_path / ("x" * 300), "text")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_fault_of_the_environment(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(EnvironmentFault, match="Permission denied"):
            write_text(tmp_path / "file", "text")
    finally:
        tmp_path.chmod(0o700)


FULL_DISK = """
import resource, sys
from pathlib import Path
from swin_deploy.atomic import write_text
from swin_deploy.errors import EnvironmentFault
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_text(Path(sys.argv[1]), "x" * 100_000)
except EnvironmentFault as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_a_disk_that_really_refuses_leaves_nothing_and_the_earlier_file(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("earlier")
    for name in ("kept", "new"):
        done = subprocess.run(
            [sys.executable, "-c", FULL_DISK, str(tmp_path / name)],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[1],
            check=False,
        )
        assert done.returncode == 6, done.stderr
        assert "File too large" in done.stdout
    assert names(tmp_path) == ["kept"]
    assert (tmp_path / "kept").read_text() == "earlier"


def test_text_is_written_as_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "Größe\n")
    assert (tmp_path / "file").read_bytes() == "Größe\n".encode()


@pytest.mark.parametrize("size", [0, 5, (1 << 20) + 3])
def test_the_hash_is_sha256_of_the_whole_file(tmp_path: Path, size: int) -> None:
    content = bytes(i % 251 for i in range(size))
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
