"""Choose a fused form's tiles and fusions by measuring them, on the device that it will run on.

What is fastest depends on the GPU, the batch and the sizes of a layer, and no rule of thumb knows it: each layer's
candidates are timed on the very tensors that it gets, and each fusion in the whole network. Whatever is not clearly
faster stays as it was, and a candidate whose result differs is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from swin_deploy.kernels import (
    add_norm,
    linear,
    mlp,
    patch_embed,
    quantize_rows,
    quantized_linear,
    token_mean,
    window_attention,
)
from swin_deploy.kernels.launch import Tiles
from swin_deploy.model import fused_layers as layers
from swin_deploy.model.fusion_plan import FusionPlan

__all__ = ["LayerCall", "Trial", "alternatives", "choose_fusions", "choose_tiles", "layer_calls"]

Seconds = Callable[[Callable[[], object]], float]
"""How long a call takes: the clock, which a test replaces."""
_CLEARLY = 0.98  # of the time before: what differs by less may be the same
# Tiles change the order of additions and nothing else; in half precision that moves a value by its rounding.
_SAME = 0.02


@dataclass(frozen=True)
class LayerCall:
    """One layer of a fused form with what it is called with.

    Attributes:
        layer: It has tiles to choose.
        arguments: What it got, for its `forward`.
    """

    layer: layers.Layer
    arguments: tuple[Any, ...]

    def candidates(self) -> tuple[Tiles, ...]:
        """The tiles worth trying, the kernel's own choice first."""
        layer, x = self.layer, self.arguments[0]
        if isinstance(layer, layers.Attention):
            return window_attention.candidates(layer.windows.positions.shape[1], layer.head_dim, x.element_size())
        if isinstance(layer, layers.Patches):
            return patch_embed.candidates(layer.weight.shape[0])
        channels, half = x.shape[-1], x.element_size() == 2
        rows = x.numel() // channels
        if isinstance(layer, layers.Mlp):
            return mlp.candidates(channels, layer.first.shape[0], rows, half=half)
        if isinstance(layer, layers.Linear):
            return linear.candidates(channels, layer.weight.shape[0], rows, norm=layer.column is not None, half=half)
        if isinstance(layer, layers.QuantizedLinear):
            return quantized_linear.candidates(channels, layer.weight.shape[0])
        if isinstance(layer, layers.QuantizedRows):
            return quantize_rows.candidates(channels)
        if isinstance(layer, layers.AddNorm):
            return add_norm.candidates(channels)
        assert isinstance(layer, layers.TokenMean), f"no tiles for {type(layer).__name__}"
        return token_mean.candidates(channels)


@dataclass(frozen=True)
class Trial:
    """One choice that was measured.

    Attributes:
        subject: A layer's `case`, or the name of a fusion.
        choice: What was tried.
        seconds: How long it took; `None` where it could not be carried out.
        kept: Whether it was chosen.
        refused: Why it was not even compared, or `None`.
    """

    subject: str
    choice: str
    seconds: float | None
    kept: bool
    refused: str | None = None


@torch.no_grad()
def layer_calls(model: nn.Module, images: Tensor) -> list[LayerCall]:
    """The first layer of each case in a fused form, with what it gets for these images."""
    found: dict[str, LayerCall] = {}

    def heard(layer: nn.Module, arguments: tuple[Any, ...]) -> None:
        assert isinstance(layer, layers.Layer)
        # Copies, since the stream's memory is used again.
        kept = tuple(entry.clone() if isinstance(entry, Tensor) else entry for entry in arguments)
        found.setdefault(layer.case, LayerCall(layer, kept))

    hooks = [
        module.register_forward_pre_hook(heard)
        for module in model.modules()
        if isinstance(module, layers.Layer) and module.case
    ]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return list(found.values())


@torch.no_grad()
def choose_tiles(calls: Iterable[LayerCall], seconds: Seconds) -> tuple[dict[str, tuple[int, ...]], list[Trial]]:
    """The fastest tiles of each case.

    Args:
        calls: See `layer_calls`.
        seconds: The clock.

    Returns:
        For `FusionPlan.with_tiles`, cases whose own choice is the fastest left out; and what was tried.
    """
    chosen: dict[str, tuple[int, ...]] = {}
    trials: list[Trial] = []
    for call in calls:
        layer, before = call.layer, call.layer.tiles
        try:
            tried = list(_tried(call, seconds))
        finally:
            layer.tiles = before
        own = tried[0].seconds
        timed = [(trial.seconds, place) for place, trial in enumerate(tried) if trial.seconds is not None]
        best, place = min(timed, default=(None, 0))
        if own is not None and best is not None and best > _CLEARLY * own:
            place = 0
        if place:
            chosen[layer.case] = tuple(call.candidates()[place].numbers())
        trials += [replace(trial, kept=number == place) for number, trial in enumerate(tried)]
    return chosen, trials


def _tried(call: LayerCall, seconds: Seconds) -> Iterable[Trial]:
    """Each candidate of one layer, none kept yet."""
    layer, wanted = call.layer, None
    for tiles in call.candidates():
        layer.tiles = tuple(tiles.numbers())
        choice = " ".join(map(str, layer.tiles))
        try:
            result = layer(*call.arguments)
            if wanted is None:
                wanted = result
            elif not _alike(result, wanted):
                yield Trial(layer.case, choice, None, False, "its result differs from that of the first tiles")
                continue
            yield Trial(layer.case, choice, seconds(lambda: layer(*call.arguments)), False)
        except Exception as error:  # too much shared memory, or what a compiler refuses: a finding about these tiles
            yield Trial(layer.case, choice, None, False, _said(error))


def _alike(found: Any, wanted: Any) -> bool:
    """Whether results agree, of several tensors in each."""
    pairs = zip(found, wanted, strict=True) if isinstance(found, tuple) else [(found, wanted)]
    for one, other in pairs:
        apart = torch.linalg.vector_norm(one.float() - other.float())
        if not apart <= _SAME * torch.linalg.vector_norm(other.float()):  # NaN is not alike
            return False
    return True


def alternatives(plan: FusionPlan, widths: Iterable[int]) -> dict[str, FusionPlan]:
    """Plans that do something else than `plan` in one respect, by name.

    Args:
        plan: Where one starts.
        widths: Channels of stages whose MLP one kernel may make.
    """
    sizes = (0, *widths)
    now = max(size for size in sizes if size <= plan.mlp_channels)
    found = {f"MLP in one kernel up to {size}": replace(plan, mlp_channels=size) for size in sizes if size != now}
    if plan.norms:
        found["norms apart"] = replace(plan, norms=False)
    if plan.epilogues:
        found["bias, GELU and residual apart"] = replace(plan, epilogues=False)
    if plan.norms or plan.epilogues:
        found["the library's linears"] = replace(plan, norms=False, epilogues=False)
    return found


def choose_fusions(
    plan: FusionPlan, widths: Iterable[int], seconds: Callable[[FusionPlan], float]
) -> tuple[FusionPlan, list[Trial]]:
    """Leave out what does not pay: to the best alternative, from there again, until none is clearly faster.

    Args:
        plan: Where one starts.
        widths: See `alternatives`.
        seconds: How long a network of a plan takes.
    """
    widths = tuple(widths)
    best, fastest = plan, seconds(plan)
    trials = [Trial("fusions", "as planned", fastest, True)]
    while True:
        timed: dict[str, float] = {}
        others = alternatives(best, widths)
        for name, other in others.items():
            try:
                timed[name] = seconds(other)
            except Exception as error:  # as in `_tried`
                trials.append(Trial("fusions", name, None, False, _said(error)))
        name = min(timed, key=timed.__getitem__, default="")
        better = bool(name) and timed[name] < _CLEARLY * fastest
        trials += [Trial("fusions", tried, took, better and tried == name) for tried, took in timed.items()]
        if not better:
            return best, trials
        best, fastest = others[name], timed[name]


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
