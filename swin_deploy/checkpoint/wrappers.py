"""Find the weights in what people save around a state_dict: wrappers, averaged copies and prefixes of keys.

Everything here works on nested dicts in memory; reading files is `tensors`' business.

Which of two sets of weights is taken where a file holds plain ones and an exponential moving average (EMA): the EMA,
since most of the code bases that write both take it by default, and the evidence says so.

- timm: `load_checkpoint(use_ema=True)` asks for `state_dict_ema`, then `model_ema`, then `state_dict`, then `model`.
- BasicSR and SwinIR: options of networks trained with EMA name `params_ema`, and `load_network` falls back to `params`.
- torchvision's training script evaluates `model_ema` where there is one. DeiT's evaluates `model`; its files cannot be
  told from torchvision's, and timm reads both as EMA.
- mmengine: `EMAHook` swaps the two when it saves, so `state_dict` is the EMA and `ema_state_dict` the plain weights.
- Lightning: `WeightAveraging` moves the plain weights to `current_model_state` and puts the average in `state_dict`.
- Microsoft's Swin has no EMA.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from swin_deploy.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Weights", "find_weights"]

# In the order they are preferred among themselves, timm's and Microsoft's first.
_PLAIN = ("state_dict", "model", "model_state_dict", "net", "params")
_AVERAGED = ("state_dict_ema", "model_ema", "params_ema", "ema_state_dict")
_WRAPPERS = (*_PLAIN, *_AVERAGED, "current_model_state")
_PREFERS_EMA = {"params_ema": "BasicSR", "state_dict_ema": "timm", "model_ema": "timm"}
_SWAPPED = frozenset({"state_dict", "ema_state_dict", "current_model_state"})
_DEPTH = 2

# First components of keys that wrappers of modules add: DistributedDataParallel and AveragedModel, torch.compile,
# LightningModules. `backbone.` and `swin.` belong to the layouts of code bases; `student.` and `teacher.` are a choice.
_PLAIN_PREFIXES = ("module", "_orig_mod", "model", "net")
_EMA_PREFIXES = ("ema", "ema_model")
# Inside a numbered block, since CLIP-like losses have a `logit_scale` of their own.
_SWIN_LIKE = re.compile(r"\.\d+\..*(relative_position_bias_table|logit_scale)$")
# Beside a prefix these are no loss and no metric, and leaving one out would change what the network computes.
_PARTS = frozenset(
    {
        "bbox_head", "classifier", "cls_head", "conv_last", "decode_head", "decoder", "fc", "fc_norm", "head", "heads",
        "hidden_states_norms", "layernorm", "neck", "norm", "patch_embed", "upsample",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """The one state_dict that was taken.

    Attributes:
        tensors: Names, without the prefixes of wrappers, and tensors as they are stored.
        evidence: Where they were and what was left, one sentence a fact.
    """

    tensors: Mapping[str, Tensor]
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class _Place:
    """A dict that may be the state_dict.

    Attributes:
        path: The wrappers around it, the outermost first.
        entries: What it holds.
        averaged: Whether a wrapper says that these are averaged weights.
        swapper: Who exchanged plain and averaged weights when saving, or nothing.
        beside: What else its wrappers hold.
    """

    path: tuple[str, ...]
    entries: Mapping[object, object]
    averaged: bool = False
    swapper: str = ""
    beside: tuple[object, ...] = ()

    def __str__(self) -> str:
        return " > ".join(f"`{name}`" for name in self.path)

    @property
    def filled(self) -> bool:
        """Whether there are tensors, and not the settings of a model under the same name."""
        import torch

        return any(isinstance(value, torch.Tensor) for value in self.entries.values())


def find_weights(
    content: Mapping[object, object], source: str, *, ema: bool | None = None, wanted: Collection[str] | None = None
) -> Weights:
    """Take the state_dict out of its wrappers and its names out of their prefixes.

    Args:
        content: What the file holds: a state_dict, or dicts around one, two deep at most.
        source: Names the file in messages.
        ema: `True` requires averaged weights, `False` plain ones; `None` takes averaged ones where there are any.
        wanted: The names that a user's own network has, which may begin with what else would be taken for a wrapper.

    Raises:
        BadInput: there are no tensors or other things among them, the wanted kind of weights is not there, or a part
            of the network lies outside the prefix that holds the rest.
    """
    places = _places(_Place((), _plain_dict(content)))
    place = _chosen(places, source, ema)
    named = _named_tensors(place, source)
    tensors, said, averaged = (
        _without_prefixes(named, source, ema) if wanted is None else _under_best_prefix(named, wanted, ema)
    )
    averaged = averaged or place.averaged
    if ema is True and not averaged:
        raise BadInput(
            f"{source} holds no EMA weights",
            needed="weights under one of: " + ", ".join(_AVERAGED) + "; or keys that begin with ema. or ema_model.",
            do="Ask for the plain weights, or give the checkpoint that has averaged ones",
        )
    if ema is False and averaged:
        raise BadInput(
            f"{source} holds EMA weights only",
            needed="plain weights, under one of: " + ", ".join(_PLAIN),
            do="Ask for the EMA weights, or give the checkpoint that has plain ones",
        )
    return Weights(tensors, (*_said_of_wrappers(place, places, ema), *said))


def _plain_dict(mapping: Mapping[object, object]) -> dict[object, object]:
    """A dict of the same entries.

    A pickle can set attributes on an OrderedDict that hide its methods, hence the unbound `dict.items`.
    """
    return dict(dict.items(mapping)) if isinstance(mapping, dict) else dict(mapping)


def _places(place: _Place) -> list[_Place]:
    """Every dict in `place` that may be the state_dict, in the order of the wrappers' names; itself without any."""
    inner = {name: _plain_dict(value) for name in _WRAPPERS if isinstance(value := place.entries.get(name), dict)}
    if not any(inner.values()) or len(place.path) == _DEPTH:
        # With an empty wrapper alone, the file says no more than an empty one.
        return [replace(place, entries={}) if inner and not any(inner.values()) and not place.filled else place]
    swapper = _swapper(place.entries)
    found: list[_Place] = []
    for name, entries in inner.items():
        by = swapper if name in _SWAPPED else ""
        averaged = name == "state_dict" if by else name in _AVERAGED
        beside = (*place.beside, *(other for other in place.entries if other != name))
        deeper = _Place((*place.path, name), entries, place.averaged or averaged, place.swapper or by, beside)
        found += _places(deeper) if entries else []
    return found


def _swapper(content: Mapping[object, object]) -> str:
    """Who put averaged weights in `state_dict`, or nothing. By their own marks, since others use the same names."""
    meta = content.get("meta")
    by_mmengine = "message_hub" in content or (isinstance(meta, dict) and "mmengine_version" in meta)
    if "ema_state_dict" in content and by_mmengine:
        return "mmengine's EMAHook"
    if "current_model_state" in content and "averaging_state" in content:
        return "Lightning's WeightAveraging"
    return ""


def _chosen(places: list[_Place], source: str, ema: bool | None) -> _Place:
    """The first place of the wanted kind that holds tensors.

    Raises:
        BadInput: plain weights are wanted and all places hold averages.
    """
    filled = [place for place in places if place.filled] or places
    averaged = [place for place in filled if place.averaged]
    plain = [place for place in filled if not place.averaged]
    if ema is False and not plain:
        raise BadInput(
            f"{source} holds EMA weights only, under {averaged[0]}",
            needed="plain weights, under one of: " + ", ".join(_PLAIN),
            do="Ask for the EMA weights, or give the checkpoint that has plain ones",
        )
    return (plain if ema is False else averaged or plain)[0]


def _named_tensors(place: _Place, source: str) -> dict[str, Tensor]:
    """The entries of a place, all of them names and tensors.

    Raises:
        BadInput: there are none, or something is none.
    """
    import torch

    if not place.entries:
        raise BadInput(
            f"{source} holds no tensors",
            needed="the weights of a Swin Transformer",
            do="Save model.state_dict() of the trained model",
        )
    named: dict[str, Tensor] = {}
    strangers: list[object] = []
    for name, value in place.entries.items():
        if isinstance(name, str) and isinstance(value, torch.Tensor):
            named[name] = value
        else:
            strangers.append(name)
    if strangers:
        where = f", under {place}" if place.path else ""
        raise BadInput(
            f"{source}{where}: {_shown(strangers, 3)} {'is' if len(strangers) == 1 else 'are'} no named tensor",
            needed="a state_dict, bare or under one of: " + ", ".join(_PLAIN + _AVERAGED),
            do="Save model.state_dict() alone, best as .safetensors",
        )
    return named


def _without_prefixes(
    tensors: dict[str, Tensor], source: str, ema: bool | None
) -> tuple[dict[str, Tensor], list[str], bool]:
    """Remove what wrappers of modules put before every key, and what lies beside the network.

    Returns:
        The tensors, what was done, and whether a prefix says that the weights are averaged.

    Raises:
        BadInput: a part of the network lies beside the prefix that holds the rest.
    """
    said: list[str] = []
    averaged = False
    removed = ""
    while True:
        heads = {name.partition(".")[0] if "." in name else "" for name in tensors}
        head = heads.pop() if len(heads) == 1 else ""
        if head not in (*_PLAIN_PREFIXES, *_EMA_PREFIXES):
            said += _said_of_prefix(removed, len(tensors))
            removed = ""
            head = _network(tensors, source, ema)
            if not head:
                return tensors, said, averaged
            left = [name for name in tensors if not name.startswith(f"{head}.")]
            kind = " (EMA)" if head in _EMA_PREFIXES else ""
            said.append(
                f"of {len(tensors)} keys the {len(tensors) - len(left)} under `{head}.`{kind} were taken, "
                f"and {len(left)} left out: {_shown(left, 4)}"
            )
            tensors = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{head}.")}
        averaged = averaged or head in _EMA_PREFIXES
        removed += f"{head}."
        tensors = {name.partition(".")[2]: tensor for name, tensor in tensors.items()}


def _under_best_prefix(
    tensors: dict[str, Tensor], wanted: Collection[str], ema: bool | None
) -> tuple[dict[str, Tensor], list[str], bool]:
    """The tensors under that prefix of wrappers, or none, which leads to the most of the `wanted` names.

    Returns:
        As `_without_prefixes`. Without a prefix all tensors are given, so that one too many is noticed.
    """
    prefixes = {""}
    for name in tensors:
        prefix = ""
        for part in name.split(".")[:-1]:
            if part not in (*_PLAIN_PREFIXES, *_EMA_PREFIXES):
                break
            prefix += f"{part}."
            prefixes.add(prefix)

    def averaged(prefix: str) -> bool:
        return not set(_EMA_PREFIXES).isdisjoint(prefix.split("."))

    def merit(prefix: str) -> tuple[int, bool, int]:
        return sum(prefix + name in tensors for name in wanted), averaged(prefix) is (ema is not False), -len(prefix)

    best = max(sorted(prefixes), key=merit)
    left = [name for name in tensors if not name.startswith(best)]
    said = _said_of_prefix(best, len(tensors) - len(left))
    if left:
        said.append(f"{len(left)} keys beside `{best}` left out: {_shown(left, 4)}")
    return (
        {name[len(best) :]: tensor for name, tensor in tensors.items() if name.startswith(best)},
        said,
        averaged(best),
    )


def _network(names: Iterable[str], source: str, ema: bool | None) -> str:
    """The prefix that alone holds a Swin, or nothing where none does or which one is a matter of choice.

    `LightningModule.state_dict` has the losses and metrics too, and an averaged model its count of steps.

    Raises:
        BadInput: a part of the network lies beside it.
    """
    names = list(names)
    swins = {name.partition(".")[0] for name in names if _SWIN_LIKE.search(name)}
    plain = [head for head in _PLAIN_PREFIXES if head in swins]
    averaged = [head for head in _EMA_PREFIXES if head in swins]
    if swins - {*plain, *averaged} or len(plain) > 1 or len(averaged) > 1:
        return ""
    head = next(iter(plain + averaged if ema is False else averaged + plain), "")
    parts = [name for name in names if name.partition(".")[0] in _PARTS]
    if head and parts:
        raise BadInput(
            f"{source}: `{head}.` holds a Swin, and {_shown(parts, 3)} beside it may be a part of the network",
            needed="the whole network under one prefix",
            do="Save the state_dict of the network alone, with its head",
        )
    return head


def _said_of_prefix(prefix: str, count: int) -> list[str]:
    return [f"prefix `{prefix}` removed from all {count} keys"] if prefix else []


def _said_of_wrappers(place: _Place, places: list[_Place], ema: bool | None) -> list[str]:
    """Where the weights were, of which kind they are and why this kind, and what else the file holds."""
    if not place.path:
        return ["the file is a state_dict itself, under no wrapper"]
    kind = "" if not (place.averaged or place.swapper) else "EMA " if place.averaged else "plain "
    why = f": {place.swapper} swaps the two when it saves" if place.swapper else ""
    said = [f"{kind}weights under {place}{why}"]
    others = [other for other in places if other.averaged != place.averaged and other.filled]
    if others:
        who = next((_PREFERS_EMA[name] for name in place.path if name in _PREFERS_EMA), "")
        default = f"since EMA is the default where both are there{who and ', as in '}{who}"
        other_kind = "plain" if place.averaged else "EMA"
        reason = default if ema is None else "as asked"
        said.append(f"the {other_kind} weights under {others[0]} were not read, {reason}")
    told = {other.path[-1] for other in others}
    rest = [name for name in place.beside if name not in told]
    return [*said, *([f"beside the weights and not read: {_shown(rest, 8)}"] if rest else [])]


def _shown(names: Iterable[object], count: int) -> str:
    """The first `count` of `names`, on one line."""
    texts = [name if isinstance(name, str) and name.isprintable() else ascii(name) for name in names]
    return ", ".join(texts[:count]) + (f" and {len(texts) - count} more" if len(texts) > count else "")
