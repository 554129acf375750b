"""The options that say what a checkpoint is: shared by the commands that read one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from cli.option_types import SIZE, SIZES, STAGES

__all__ = ["checkpoint_options"]

_OPTIONS = (
    click.option("--dialect", help="The checkpoint's layout, e.g. timm; without: detected."),
    click.option(
        "--task",
        type=click.Choice(["classification", "backbone", "restoration"]),
        help="What it is for, where the keys do not tell: backbone takes a classifier's features.",
    ),
    click.option("--out-stages", type=STAGES, help="Stages whose features a backbone gives, e.g. 1,2,3; without: all."),
    click.option(
        "--attention",
        help="Another attention: channel-gate, linformer, performer, routing, or package.module:Class of your own.",
    ),
    click.option("--image-range", type=float, help="Restoration: the range the model computes in, 1 or 255."),
    click.option("--ema/--no-ema", default=None, help="The averaged or the plain weights of a file that holds both."),
    click.option(
        "--window", type=SIZE, help="The window, where nothing tells; a V1's bias tables are interpolated to it."
    ),
    click.option(
        "--pretrained-window", type=SIZES, help="Swin V2's pretrained window: one, or one a stage: 12,12,12,6."
    ),
)


def checkpoint_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options, in the order above."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
