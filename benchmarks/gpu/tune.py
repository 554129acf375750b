"""A plan for one network at one batch on this GPU: its tiles and fusions, chosen by measurement."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.forms import Forms
from swin_deploy.kernels.compile_ahead import CompilingRun, compiled_together
from swin_deploy.kernels.launched import LaunchedOperators
from swin_deploy.kernels.tuning import LayerCall, Trial, choose_fusions, choose_tiles, layer_calls
from swin_deploy.model.fusion_plan import FusionPlan

__all__ = ["tuned"]

_WIDEST = 384  # channels of a row that an MLP's kernel could keep


def tuned(forms: Forms, plan: FusionPlan, images: Tensor) -> tuple[FusionPlan, dict[str, Any]]:
    """`plan` with the fastest tiles, and without fusions that do not pay.

    Args:
        forms: Of the network.
        plan: What is fused to begin with.
        images: Of the batch that it is tuned for.

    Returns:
        The plan, and what was tried, JSON-ready.
    """
    timer = forms.stand.timer
    widths = tuple(stage.dim for stage in forms.subject.spec.stages if stage.dim <= _WIDEST)
    found: dict[str, LayerCall] = {}
    for most in dict.fromkeys((plan.mlp_channels, 0, max(widths, default=0))):
        for call in layer_calls(_form(forms, replace(plan, mlp_channels=most)), images):
            found.setdefault(call.layer.case, call)
    calls = list(found.values())
    if timer.device == "cuda":
        compiled_together(lambda: _all_candidates(calls), len(os.sched_getaffinity(0)))
    tiles, trials = choose_tiles(calls, timer.seconds)
    ready, more = choose_fusions(plan.with_tiles(tiles), widths, lambda other: _network(forms, other, images))
    return ready, {"plan": ready.to_json(), "trials": _written(trials + more)}


def _written(trials: Iterable[Trial]) -> dict[str, str]:
    """What was tried, a line a subject: choice and microseconds, `*` behind what was kept."""
    lines: dict[str, list[str]] = {}
    for trial in trials:
        took = trial.refused if trial.seconds is None else f"{1e6 * trial.seconds:.1f}{'*' if trial.kept else ''}"
        lines.setdefault(trial.subject, []).append(f"{trial.choice}: {took}")
    return {subject: "; ".join(entries) for subject, entries in lines.items()}


def _all_candidates(calls: Iterable[LayerCall]) -> None:
    operators = LaunchedOperators(CompilingRun())
    for call in calls:
        layer = copy.copy(call.layer)
        for tiles in call.candidates():
            layer.tiles, layer.operators = tuple(tiles.numbers()), operators
            with suppress(Exception), torch.no_grad():  # they say so when they are tried
                layer(*call.arguments)


def _form(forms: Forms, plan: FusionPlan) -> nn.Module:
    return forms.fused_form(plan, forms.stand.kernels)


def _network(forms: Forms, plan: FusionPlan, images: Tensor) -> float:
    module = _form(forms, plan)
    with torch.no_grad():
        return forms.stand.timer.seconds(lambda: module(images))
