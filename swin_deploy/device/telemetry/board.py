"""Which Jetson this is, and which release of Jetson Linux it runs."""

from __future__ import annotations

import re
from pathlib import Path

from swin_deploy.device.telemetry.small_file import text_in

__all__ = ["board_name", "jetson_linux"]

# # R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: ...
_RELEASE = re.compile(r"# R(\d+) \(release\), REVISION: ([\d.]+)")


def board_name(root: Path) -> str:
    """The device tree's name of the board, e.g. `NVIDIA Jetson AGX Orin Developer Kit`; empty where there is none."""
    for path in ("proc/device-tree/model", "sys/firmware/devicetree/base/model"):
        text = text_in(root / path)
        if text:
            return text
    return ""


def jetson_linux(root: Path) -> str:
    """The release of Jetson Linux, e.g. `36.4.3`; empty on another machine."""
    found = _RELEASE.search(text_in(root / "etc/nv_tegra_release") or "")
    return f"{found[1]}.{found[2]}" if found else ""
