"""The console script: make sure that `cli` and `calib` are ours, then hand over to the command line.

Other distributions have top-level modules of these names too, and in a shared environment, or in a folder that holds
one of them, Python would run theirs. The check looks for files and imports nothing, so that no foreign code runs.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

__all__ = ["foreign_package", "main"]

_UNAVAILABLE = 3  # the exit status of swin_deploy.errors.Unavailable, which cannot be imported before the check

_OURS = {"calib": "errors.py", "cli": "main.py"}  # each with a file that only our package has


def foreign_package(name: str) -> str | None:
    """Where Python would take the top-level package `name` from if that is not ours, else `None`."""
    home = Path(__file__).resolve().parent.parent
    try:
        spec = find_spec(name)
    except ValueError:  # an imported module without a spec: nothing that an installation leaves
        return "a module made by other code"
    if spec is None:
        return "nowhere: it is not installed"
    if spec.origin is None:  # a folder without __init__.py
        return str(next(iter(spec.submodule_search_locations or ()), "a module made by other code"))
    package = Path(spec.origin).resolve().parent
    if package != home / name or not (package / _OURS[name]).is_file():
        return spec.origin
    return None


def main() -> NoReturn:
    """Run the command line and exit with its status; 3 if `cli` or `calib` is another distribution's."""
    for name in _OURS:
        if (place := foreign_package(name)) is not None:
            print(
                f"Error: the Python package {name!r} comes from {place}.\n"
                f"Needed: the one of swin-deploy, {Path(__file__).resolve().parent.parent / name}.\n"
                "To do: install swin-deploy into an environment of its own, and if that place is the current folder, "
                "run the command from another one.",
                file=sys.stderr,
            )
            raise SystemExit(_UNAVAILABLE)
    import cli.main

    raise SystemExit(cli.main.main())


if __name__ == "__main__":
    main()
