"""Kernel times come back to the version and GPU that they are of, and to nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from swin_deploy.device.timing_cache import read_timing_cache, write_timing_cache

HERE = "tensorrt 10.3.0 on Orin (16 multiprocessors)"


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    content = b"\n\x00times\n{"
    write_timing_cache(tmp_path / "new" / "times", HERE, content)
    assert read_timing_cache(tmp_path / "new" / "times", HERE) == (content, None)


def test_a_missing_file_is_an_empty_cache_and_no_reason_to_speak(tmp_path: Path) -> None:
    assert read_timing_cache(tmp_path / "times", HERE) == (b"", None)


def test_times_of_another_version_or_gpu_are_ignored(tmp_path: Path) -> None:
    write_timing_cache(tmp_path / "times", HERE.replace("16", "8"), b"times")
    content, reason = read_timing_cache(tmp_path / "times", HERE)
    assert content == b""
    assert "(8 multiprocessors), and this is" in str(reason)


def test_damaged_times_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "times"
    write_timing_cache(path, HERE, b"times")
    path.write_bytes(path.read_bytes()[:-1] + b"S")
    assert read_timing_cache(path, HERE)[0] == b""
    assert "damaged" in str(read_timing_cache(path, HERE)[1])


@pytest.mark.parametrize("content", [b"", b"ptrtb\x00\x98", b"[]\n", b"{}\n", b"\xff\n", b"1\n"])
def test_a_file_of_another_kind_is_ignored(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "times").write_bytes(content)
    assert read_timing_cache(tmp_path / "times", HERE)[0] == b""
    assert "not one of ours" in str(read_timing_cache(tmp_path / "times", HERE)[1])


def test_a_folder_in_its_place_is_ignored(tmp_path: Path) -> None:
    content, reason = read_timing_cache(tmp_path, HERE)
    assert content == b""
    assert "was ignored" in str(reason)
