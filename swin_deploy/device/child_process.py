"""Modules of this very package as processes of their own: how one is started, and what ended one."""

from __future__ import annotations

import signal

__all__ = ["signal_name", "start_code"]


def start_code(module: str) -> str:
    """What `python -c` takes to run `module` as `__main__`.

    `-c` and not `-m`: the child must find this very package, installed or not, so it takes its parent's search path,
    which its first argument, a JSON file, holds as `search_path`.
    """
    return (
        # Not from the working folder, which Python puts first with `-c`: nothing there is known.
        "import sys; sys.path[:] = filter(None, sys.path); import json, runpy; "
        "sys.path[:] = json.load(open(sys.argv[1], encoding='utf-8'))['search_path']; "
        f"runpy.run_module({module!r}, run_name='__main__')"
    )


def signal_name(number: int) -> str:
    """E.g. `SIGKILL`; `signal N` where it has no name here."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
