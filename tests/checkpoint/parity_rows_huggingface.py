"""Rows of transformers, whose own models run in the test."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.checkpoint.live_models import filled, random_batch
from tests.checkpoint.parity_row import Original, ParityRow, Sample

__all__ = ["ROWS", "config", "on_disk"]

Family = Literal["v1", "v2"]
Answer = Callable[[nn.Module, Tensor], tuple[Tensor, ...]]
# With patches of 4, two stages and windows of 7: 14x14 and 7x7 tokens; 15x15 and 8x8, padded; 14x20 and 7x10; 15x20 and
# 8x10 of an image that patches do not cover. V1's classifier fails on smaller maps.
_LARGE = ((56, 56), (60, 60), (56, 80), (57, 79))
# 10x10 and 5x5 besides, the window larger than the last map; 5x14 and 3x7.
_ANY = (*_LARGE, (40, 40), (20, 56))


def config(family: Family, **changes: Any) -> Any:
    """The configuration of a small Swin or Swinv2."""
    transformers = pytest.importorskip("transformers")
    made = transformers.SwinConfig if family == "v1" else transformers.Swinv2Config
    return made(**{**_arguments(), **changes})


def on_disk(model: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of `model` and its configuration as `save_pretrained` writes them."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        state = {name: tensor.clone() for name, tensor in load_file(Path(folder, "model.safetensors")).items()}
        return state, json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))


def _arguments() -> dict[str, Any]:
    return {
        "image_size": 56,
        "patch_size": 4,
        "embed_dim": 16,
        "depths": [2, 2],
        "num_heads": [2, 4],
        "window_size": 7,
        "mlp_ratio": 2.0,
        "num_labels": 5,
    }


@torch.no_grad()
def _original(
    make: Callable[[], nn.Module],
    answer: Answer,
    sizes: tuple[tuple[int, int], ...],
    *,
    in_memory: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Original:
    """What a model of transformers answers.

    Args:
        make: Makes the model, with whatever weights.
        answer: From the model and a batch to the outputs.
        sizes: Height and width of each sample.
        in_memory: Whether the weights have the names of `state_dict` rather than those on disk.
        options: Options of `load_checkpoint`.
    """
    model: Any = filled(make())
    state, raw = on_disk(model)
    if in_memory:
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    samples = []
    for size in sizes:
        twin: Any = make()  # each size has its own: V1's forward changes windows and shifts for good
        twin.load_state_dict(model.state_dict())
        batch = random_batch(*size)
        samples.append(Sample(batch, answer(twin.double().eval(), batch)))
    return Original(state, tuple(samples), options or {}, raw)


def _logits(model: nn.Module, batch: Tensor) -> tuple[Tensor, ...]:
    return (model(batch).logits,)


def _feature_maps(model: nn.Module, batch: Tensor) -> tuple[Tensor, ...]:
    return tuple(model(batch).feature_maps)


def _before_merging(model: nn.Module, batch: Tensor) -> tuple[Tensor, ...]:
    """The features of a SwinModel's stages, which its encoder hands out when it is asked to."""
    outputs = model(batch, output_hidden_states=True, output_hidden_states_before_downsampling=True)
    return tuple(outputs.reshaped_hidden_states[1:])


def _v2_before_merging(model: Any, batch: Tensor) -> tuple[Tensor, ...]:
    """The same of a Swinv2Model, which does not hand the request on."""
    embedded, grid = model.embeddings(batch)
    outputs = model.encoder(
        embedded, grid, output_hidden_states=True, output_hidden_states_before_downsampling=True, return_dict=True
    )
    return tuple(outputs.reshaped_hidden_states[1:])


def _inner_feature_maps(model: Any, batch: Tensor) -> tuple[Tensor, ...]:
    return tuple(model.backbone(batch).feature_maps)


def _made(name: str, family: Family, **changes: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    model: nn.Module = getattr(transformers, name)(config(family, **changes))
    return model


def _upernet() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    changes = {"depths": [2, 1, 1, 1], "num_heads": [2, 4, 4, 4], "num_labels": 2}
    backbone = config("v1", **changes, out_features=["stage1", "stage2", "stage3", "stage4"])
    model: nn.Module = transformers.UperNetForSemanticSegmentation(
        transformers.UperNetConfig(
            backbone_config=backbone,
            hidden_size=16,
            pool_scales=[1],
            num_labels=3,
            auxiliary_in_channels=64,
            auxiliary_channels=8,
        )
    )
    return model


def _maskformer_swin() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    from transformers.models.maskformer.modeling_maskformer_swin import MaskFormerSwinBackbone

    arguments = {**_arguments(), "out_features": ["stage1", "stage2"]}
    model: nn.Module = MaskFormerSwinBackbone(transformers.MaskFormerSwinConfig(**arguments))
    return model


def _maskformer() -> Original:
    """Under the prefix that MaskFormer gives its backbone, beside a part of its own."""
    bare = _original(_maskformer_swin, _feature_maps, _ANY, in_memory=True, options={"task": "backbone"})
    prefix = "model.pixel_level_module.encoder."
    state = {prefix + name: tensor for name, tensor in bare.state.items()}
    state["model.transformer_module.queries_embedder.weight"] = torch.ones(4, 4)
    state["class_predictor.weight"] = torch.ones(4, 4)
    return Original(state, bare.samples, bare.options, {"model_type": "maskformer", "backbone_config": bare.sidecar})


def _with(original: Callable[[], Original], name: str, tensor: Tensor) -> Original:
    found = original()
    return Original({**found.state, name: tensor}, found.samples, found.options, found.sidecar)


def _row(
    family: Family, task: str, case: str, original: Callable[[], Original], *, padded: bool = True, refused: str = ""
) -> ParityRow:
    return ParityRow("huggingface", family, task, case, "live", original, padded=padded, refused=refused)


_V1 = partial(_made, "SwinForImageClassification", "v1")
_V2 = partial(_made, "Swinv2ForImageClassification", "v2")
_TWO_STAGES = ["stage1", "stage2"]
_SWIN_BACKBONE = partial(_made, "SwinBackbone", "v1", out_features=_TWO_STAGES)
_SWINV2_BACKBONE = partial(_made, "Swinv2Backbone", "v2", out_features=_TWO_STAGES)
_BARE = {"task": "backbone"}

ROWS = (
    _row("v1", "classification", "on disk", partial(_original, _V1, _logits, _LARGE)),
    _row("v1", "classification", "in memory", partial(_original, _V1, _logits, _LARGE, in_memory=True)),
    _row("v1", "classification", "no qkv_bias", partial(_original, partial(_V1, qkv_bias=False), _logits, _LARGE)),
    _row("v1", "backbone", "SwinBackbone", partial(_original, _SWIN_BACKBONE, _feature_maps, _ANY)),
    _row("v1", "backbone", "in memory", partial(_original, _SWIN_BACKBONE, _feature_maps, _ANY, in_memory=True)),
    _row(
        "v1",
        "backbone",
        "last stage alone",
        partial(_original, partial(_made, "SwinBackbone", "v1", out_features=["stage2"]), _feature_maps, _ANY),
    ),
    _row(
        "v1",
        "backbone",
        "SwinModel",
        partial(_original, partial(_made, "SwinModel", "v1"), _before_merging, _LARGE, options=_BARE),
    ),
    _row("v1", "backbone", "UperNet", partial(_original, _upernet, _inner_feature_maps, ((96, 128),), options=_BARE)),
    _row("v1", "backbone", "MaskFormer", _maskformer),
    _row("v2", "classification", "on disk", partial(_original, _V2, _logits, _ANY)),
    _row("v2", "classification", "in memory", partial(_original, _V2, _logits, _ANY, in_memory=True)),
    # The window is larger than both maps of the size that the model is built for: 14 and 7 rows.
    _row("v2", "classification", "clipped", partial(_original, partial(_V2, window_size=16), _logits, _ANY)),
    _row(
        "v2",
        "classification",
        "built oblong",
        partial(_original, partial(_V2, image_size=[40, 80], window_size=7), _logits, _ANY),
    ),
    _row(
        "v2",
        "classification",
        "pretrained windows",
        partial(_original, partial(_V2, pretrained_window_sizes=[12, 6]), _logits, _ANY),
    ),
    # One token is a region of its own in windows of 2: its own score may be low, and the mask's value then shows.
    _row("v2", "classification", "windows of 2", partial(_original, partial(_V2, window_size=2), _logits, _ANY)),
    _row("v2", "backbone", "Swinv2Backbone", partial(_original, _SWINV2_BACKBONE, _feature_maps, _ANY)),
    _row(
        "v2",
        "backbone",
        "Swinv2Model",
        partial(_original, partial(_made, "Swinv2Model", "v2"), _v2_before_merging, _ANY, options=_BARE),
    ),
    _row(
        "v1",
        "classification",
        "map smaller than the window",
        partial(_original, _V1, lambda _model, _batch: (), ((40, 40),)),
        refused="at this image size",
    ),
    _row(
        "v1",
        "classification",
        "positions",
        partial(_original, partial(_V1, use_absolute_embeddings=True), _logits, _LARGE[:1]),
        refused="swin.embeddings.position_embeddings",
    ),
    _row(
        "v1",
        "classification",
        "masked image modeling",
        partial(_original, partial(_made, "SwinForMaskedImageModeling", "v1"), lambda _model, _batch: (), _LARGE[:1]),
        refused="masked image modeling",
    ),
    _row(
        "v1",
        "backbone",
        "stem",
        partial(
            _original,
            partial(_made, "SwinBackbone", "v1", out_features=["stem", "stage2"]),
            lambda _model, _batch: (),
            _LARGE[:1],
        ),
        refused="the stem",
    ),
    _row(
        "v1",
        "classification",
        "UperNet",
        partial(_original, _upernet, lambda _model, _batch: (), ((96, 128),)),
        refused="a part of a larger model, beside auxiliary_head, decode_head",
    ),
)
