"""Which versions were executed, which are expected to work, and which are refused: the one table of it.

`executed` means that this project's tests or a build of the demo ran with it, and `note` says how far. `expected` means
that nobody ran it: the code was written for it, after the package's own documentation or bindings. A version in no row
is unknown. docs/doctor.md holds this table, and a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["JETPACKS", "MATRIX", "JetPack", "Row", "jetpack_of", "markdown", "row_of"]

Standing = Literal["executed", "expected", "refused"]
Version = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One range of versions of one package.

    Attributes:
        package: Its name as it is imported.
        since: First version of the range.
        until: First version behind it.
        standing: `executed`, `expected` or `refused`.
        note: How far it was executed, or why it is refused.
    """

    package: str
    since: Version
    until: Version
    standing: Standing
    note: str

    def __post_init__(self) -> None:
        assert self.since < self.until and self.note, "an empty range, or a row that says nothing"

    @property
    def versions(self) -> str:
        """The range in words."""
        low, high = (".".join(map(str, version)) for version in (self.since, self.until))
        return f"below {high}" if self.since == (0,) else f"{low} to below {high}"


@dataclass(frozen=True)
class JetPack:
    """One range of releases of Jetson Linux.

    Attributes:
        since: First release of Jetson Linux.
        until: First release behind it.
        name: JetPack's own number.
        tensorrt: Major and minor of the TensorRT that it ships; empty where it is not supported.
    """

    since: Version
    until: Version
    name: str
    tensorrt: Version = ()


MATRIX: tuple[Row, ...] = (
    Row("python", (3, 11), (3, 12), "executed", "everything"),
    Row("python", (3, 10), (3, 11), "executed", "parts: the engine builder's child process"),
    Row("python", (3, 12), (3, 14), "expected", "not executed"),
    Row("python", (0,), (3, 10), "refused", "only a bundle's runner.py runs there, from 3.8 on"),
    Row("torch", (2, 14), (2, 15), "executed", "everything, on a CPU"),
    Row("torch", (2, 12), (2, 14), "expected", "not executed"),
    Row("torch", (2, 11), (2, 12), "executed", "a whole build once, on a CPU"),
    Row("torch", (0,), (2, 11), "refused", "torch.export is used as of 2.11"),
    Row("onnx", (1, 23), (1, 24), "executed", "everything"),
    Row("onnx", (1, 18), (1, 23), "expected", "not executed"),
    Row("onnx", (0,), (1, 18), "refused", "older than the code was written for"),
    Row("onnxruntime", (1, 32), (1, 33), "executed", "everything, on a CPU"),
    Row("onnxruntime", (1, 20), (1, 32), "expected", "not executed"),
    Row("onnxruntime", (0,), (1, 20), "refused", "older than the code was written for"),
    Row("tensorrt_rtx", (1, 6), (1, 8), "executed", "plans were built without a GPU, and never run"),
    Row("tensorrt", (11, 0), (12, 0), "expected", "not executed; used as the bindings of 11.4 have it"),
    Row("tensorrt", (10, 13), (11, 0), "expected", "not executed; used as the bindings of 10.13 have it"),
    Row("tensorrt", (10, 0), (10, 13), "expected", "not executed; used as the bindings of 10.3 have it"),
    Row("tensorrt", (8, 6), (9, 0), "expected", "not executed; used as the bindings of 8.6 have it"),
    Row("tensorrt", (8, 5), (8, 6), "expected", "not executed; used as the bindings of 8.5 have it"),
    Row("tensorrt", (0,), (8, 5), "refused", "no export profile for it"),
    Row("torch_tensorrt", (2, 14), (2, 15), "executed", "the RTX build: converts on a CPU, never run"),
    Row("torch_tensorrt", (0,), (2, 14), "refused", "its settings were others"),
)

# Source: NVIDIA's JetPack archive (https://developer.nvidia.com/embedded/jetpack-archive); 7.2's TensorRT is not
# listed here, since 11.4.1 wants 7.2.2 and what 7.2 itself ships was not looked up.
JETPACKS: tuple[JetPack, ...] = (
    JetPack((35, 2), (36,), "5.1", (8, 5)),
    JetPack((36, 2), (36, 4), "6.0", (8, 6)),
    JetPack((36, 4), (37,), "6.1 or 6.2", (10, 3)),
    JetPack((38,), (39,), "7.0 or 7.1", (10, 13)),
)


def row_of(package: str, version: str) -> Row | None:
    """The row that holds `version`, or `None` for a version nobody knows anything of."""
    number = _version(version)
    return next((row for row in MATRIX if row.package == package and row.since <= number < row.until), None)


def jetpack_of(jetson_linux: str) -> JetPack | None:
    """The JetPack that a release of Jetson Linux such as `36.4.3` belongs to."""
    number = _version(jetson_linux)
    return next((row for row in JETPACKS if row.since <= number < row.until), None)


def markdown() -> Iterator[str]:
    """The table as lines of Markdown, as docs/doctor.md holds it."""
    yield "| package | versions | standing | |"
    yield "|---|---|---|---|"
    for row in MATRIX:
        yield f"| {row.package} | {row.versions} | {row.standing} | {row.note} |"


def _version(text: str) -> Version:
    """The leading numbers of `2.14.1+cpu` or `10.13.3.9`."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()
