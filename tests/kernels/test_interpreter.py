"""Runs tests/kernels/interpreted, one file a process: a process either interprets kernels or compiles them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(path.name for path in (HERE / "interpreted").glob("test_*.py"))


def test_there_are_interpreted_tests() -> None:
    assert FILES


@pytest.mark.parametrize("file", FILES)
def test_the_kernels_in_tritons_interpreter(file: str, record_property) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "interpreted" / file)]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HERE.parent.parent)
    closing = ran.stdout.strip().splitlines()[-1] if ran.stdout.strip() else ""
    record_property("closing_line", closing)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert " passed" in closing and "skipped" not in closing, closing
