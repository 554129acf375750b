"""A run that leaves programs out, so that a test can show that it would be seen."""

from __future__ import annotations

from dataclasses import replace

from swin_deploy.kernels.interpreted_run import InterpretedRun
from swin_deploy.kernels.launch import Launch

__all__ = ["ShorterRun"]


class ShorterRun(InterpretedRun):
    """Leaves the last program of each launch's first axis out."""

    def launch(self, launch: Launch) -> None:
        super().launch(replace(launch, grid=(launch.grid[0] - 1, *launch.grid[1:])))
