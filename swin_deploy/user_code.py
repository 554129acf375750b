"""Code that a user names as `package.module:attribute`: found as Python would find it from the current folder.

A console script does not have the current folder on `sys.path`, unlike `python script.py`; what serves web applications
(flask, gunicorn, uvicorn) puts it there, and so does this, as long as the user's code is imported or called. Later
imports of our own are then never taken from that folder.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

__all__ = ["code_fingerprint", "current_folder_first", "import_user_module"]

_OURS = frozenset({"calib", "cli", "swin_deploy"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})


@contextmanager
def current_folder_first() -> Iterator[None]:
    """Python looks for modules in the current folder before anywhere else."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()  # the module may be younger than what Python remembers of the folder
    try:
        yield
    finally:
        if here in sys.path:  # the user's code may have changed the path
            sys.path.remove(here)


def import_user_module(name: str) -> ModuleType:
    """Import `package.module`. It runs the user's code, which may raise anything, SystemExit too."""
    with current_folder_first():
        return importlib.import_module(name)


def code_fingerprint(name: str) -> str:
    """SHA-256 over a module and those it came with, so that a change of any is noticed; `unknown` if it has no file.

    Those are the imported modules of its package or, for a module in no package, of its folder. What is installed
    beside it is not among them.
    """
    try:
        import_user_module(name)
    except (Exception, SystemExit):  # whoever imports it to use it says so better
        return "unknown"
    top = _file_of(sys.modules[name.partition(".")[0]])
    named = _file_of(sys.modules[name])
    if named is None:
        return "unknown"
    root = (top or named).parent
    files = {named}
    if root.name not in _INSTALLED:
        found = (_file_of(module) for key, module in list(sys.modules.items()) if key.partition(".")[0] not in _OURS)
        files |= {file for file in found if file is not None and _belongs(file, root)}
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _belongs(file: Path, root: Path) -> bool:
    library = Path(sysconfig.get_path("stdlib"))  # may lie below the user's own folder
    return (
        file.is_relative_to(root)
        and not _INSTALLED & set(file.relative_to(root).parts)
        and (root.is_relative_to(library) or not file.is_relative_to(library))
    )


def _file_of(module: ModuleType) -> Path | None:
    """Where a module's source lies, `None` for one that has none."""
    origin = getattr(module, "__file__", None)
    file = Path(origin) if isinstance(origin, str) else None
    return file if file is not None and file.suffix == ".py" and file.is_file() else None
