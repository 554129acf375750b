"""Where the calls of each line are written: trtexec's format knows one engine, so that each line has a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from swin_deploy.device.benchmark_line import Line

__all__ = ["times_files"]


def times_files(path: Path, lines: Sequence[Line]) -> list[Path]:
    """`path` itself for one line; for several, files beside it whose names tell them apart."""
    if len(lines) == 1:
        return [path]
    return [path.with_name(f"{path.stem}.{place}-{_words(line)}{path.suffix}") for place, line in enumerate(lines)]


def _words(line: Line) -> str:
    parts = (line.artifact.rpartition("/")[2], line.precision, f"b{line.batch}", "graph" * line.cuda_graph)
    return "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", part) for part in parts if part)
