"""Which classes and functions a pickle would call, found by reading its opcodes without running any."""

from __future__ import annotations

import contextlib
import pickletools
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["foreign_names"]

# What torch.save writes for tensors themselves.
_TENSOR_MODULES = {"collections", "torch", "torch._tensor", "torch._utils", "torch.nn.parameter"}
# A file of torch.save before 1.6 is four pickles (a magic number, a version, the machine, the content) and raw data.
_PICKLES = 4


def foreign_names(path: Path) -> list[str]:
    """Names in a PyTorch file besides those of plain tensors, as far as it can be read, e.g. `argparse.Namespace`."""
    found: set[tuple[str, str]] = set()
    # A damaged pickle raises whatever its reader stumbles on; what stood before that place counts.
    with contextlib.suppress(Exception), warnings.catch_warnings(), _stream(path) as stream:
        warnings.simplefilter("ignore")  # of bytes that look like escapes
        for _ in range(_PICKLES):
            for module, name in _globals(stream):
                found.add((module, name))
    return sorted(f"{module}.{name}" for module, name in found if module not in _TENSOR_MODULES)


@contextlib.contextmanager
def _stream(path: Path) -> Iterator[IO[bytes]]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as handle:
            yield handle
        return
    with zipfile.ZipFile(path) as archive:
        content = [name for name in archive.namelist() if name.endswith("data.pkl")]
        with archive.open(content[0]) as handle:
            yield handle


def _globals(stream: IO[bytes]) -> Iterator[tuple[str, str]]:
    """Module and name of each global of the next pickle in `stream`."""
    texts = ["", ""]
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            yield module, name
        elif opcode.name == "STACK_GLOBAL":
            yield texts[-2], texts[-1]  # pushed just before, unless one of them came from the memo
        elif isinstance(argument, str):
            texts.append(argument)
