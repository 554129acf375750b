"""The files that a module needs of this project, found by reading their imports: what `lib/` of a bundle holds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

__all__ = ["ENTRY", "foreign_imports", "import_closure"]

ENTRY = "swin_deploy.device.finish"
# Started by name in a child process, see `device.build_in_child`: no import leads to it.
CHILD = "swin_deploy.device.tensorrt_build"
_ROOT = Path(__file__).resolve().parents[2]
_OURS = ("swin_deploy", "calib", "cli")


def import_closure(*entries: str, root: Path = _ROOT) -> tuple[str, ...]:
    """The files of `entries` and of all that they import of ours, at the top or inside functions.

    Imports that only a type checker sees do not count.

    Args:
        entries: Module names; without any, those that a device runs.
        root: The folder that holds our packages.

    Returns:
        Paths relative to `root`, sorted, with the `__init__.py` of every package on the way.
    """
    waiting, found = list(entries or (ENTRY, CHILD)), set()
    while waiting:
        name = waiting.pop()
        path = _file_of(name, root)
        if path is None:  # a name out of a module, not a module
            continue
        parent = name.rpartition(".")[0]
        if parent:
            waiting.append(parent)
        relative = path.relative_to(root).as_posix()
        if relative not in found:
            found.add(relative)
            waiting += [imported for imported in _imports(path) if imported.partition(".")[0] in _OURS]
    return tuple(sorted(found))


def foreign_imports(files: tuple[str, ...], root: Path = _ROOT) -> frozenset[str]:
    """The top-level packages, not ours, that `files` import anywhere."""
    names = {imported.partition(".")[0] for file in files for imported in _imports(root / file)}
    return frozenset(names - set(_OURS))


def _file_of(name: str, root: Path) -> Path | None:
    place = root.joinpath(*name.split("."))
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


def _imports(path: Path) -> Iterator[str]:
    """Modules that a file imports; of `from a import b` both `a` and `a.b`, which may be a module."""
    for node in _executed(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below, but for the body of `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            for other in child.orelse:
                yield other
                yield from _executed(other)
            continue
        yield child
        yield from _executed(child)
