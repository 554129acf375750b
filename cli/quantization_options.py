"""The options of `build` that say how INT8 and FP8 are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cli.option_types import WORDS

__all__ = ["quantization_options"]

_PATH = click.Path(path_type=str)
_OPTIONS = (
    click.option("--calib-data", type=_PATH, help="Calibration images: folder (one sub-folder a class), tar or .npz."),
    click.option(
        "--calib-images",
        type=click.IntRange(0),
        default=512,
        show_default=True,
        help="Calibrate on so many of them; 0: all.",
    ),
    click.option(
        "--calib-method",
        default="output",
        show_default=True,
        help="output (least error behind the linear), min-max, moving-average, percentile, entropy or mse.",
    ),
    click.option(
        "--calib-tools",
        type=WORDS,
        default="balance,reconstruct,bias",
        show_default=True,
        help="Of balance, smoothquant, repq, reconstruct, bias; or none.",
    ),
    click.option(
        "--calib-seeds",
        type=int,
        default=3,
        show_default=True,
        help="Calibrations to compare, on resampled images; 1: no comparison.",
    ),
    click.option("--calibration", type=_PATH, help="The calibration file of an earlier run, instead of --calib-data."),
    click.option("--placement", default="linears", show_default=True, help="Which linears: a policy's name."),
    click.option("--exclude", multiple=True, metavar="REGEX", help="Linears that stay in float; may be repeated."),
    click.option("--precision-plan", type=_PATH, help="A file that gives each linear its precision."),
    click.option(
        "--search",
        is_flag=True,
        help="Find the plan with the most INT8 within --max-drop, on half of the evaluation images.",
    ),
    click.option(
        "--int8-share",
        type=float,
        default=0.9,
        show_default=True,
        help="What --search keeps quantized at least, of the linears' arithmetic; the noisiest of the rest is float.",
    ),
    click.option("--timings", type=_PATH, help="Measured times of each linear, for --search."),
)
_Command = TypeVar("_Command", bound=Callable[..., Any])


def quantization_options(command: _Command) -> _Command:
    """Give a command all of them, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
