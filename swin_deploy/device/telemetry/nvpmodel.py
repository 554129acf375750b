"""A Jetson's power mode: which one is set, and which there are.

`/var/lib/nvpmodel/status` holds `pmode:0002` (and on some releases `fmode:...`, the fan's), `/etc/nvpmodel.conf` has
`< POWER_MODEL ID=2 NAME=MAXN >` for each mode: Jetson Linux Developer Guide, "Supported Modes and Power Efficiency".
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from swin_deploy.device.telemetry.small_file import text_in

__all__ = ["ask_nvpmodel", "power_mode", "power_modes"]

_STATUS = re.compile(r"\bpmode:\s*(\d+)")
_MODE = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>")
_ANSWER = re.compile(r"NV Power Mode:\s*(\S+)")
_SECONDS = 4.0


def power_modes(root: Path) -> Mapping[int, str]:
    """The names of the modes by their number; empty where the configuration cannot be read."""
    return {int(number): name for number, name in _MODE.findall(text_in(root / "etc/nvpmodel.conf") or "")}


def power_mode(root: Path, ask: Callable[[], str] | None = None) -> str:
    """The name of the mode that is set, `mode 2` where it has no name, empty where there is none.

    Args:
        root: `/` for the machine itself.
        ask: What `nvpmodel -q` says, asked only where the status file cannot be read.
    """
    found = _STATUS.search(text_in(root / "var/lib/nvpmodel/status") or "")
    if found:
        return power_modes(root).get(int(found[1]), f"mode {int(found[1])}")
    answer = _ANSWER.search(ask()) if ask is not None else None
    return answer[1] if answer else ""


def ask_nvpmodel() -> str:
    """What `nvpmodel -q` prints; empty where there is no such program or it may not say."""
    command = shutil.which("nvpmodel")
    if command is None:
        return ""
    try:
        return subprocess.run(
            [command, "-q"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
