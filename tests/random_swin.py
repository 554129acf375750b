"""Small Swins with random weights on which nothing cancels by chance, and the same models in timm.

Published initialisations hide mistakes: zero biases, unit norms and equal bias tables make wrong forms agree. Here
biases are not zero, LayerNorm scales are 0.5-1.5, bias tables have unit spread, and logit scales differ per head with
one of each block beyond the clamp.
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Classifier, Task
from swin_deploy.model.forms import build_reference
from swin_deploy.model.geometry import RULES
from swin_deploy.model.reference import LOGIT_SCALE_MAX, ReferenceSwin

Size = tuple[int, int]


def small_spec(
    family: Literal["v1", "v2"],
    *,
    image_size: Size = (28, 28),
    patch: int = 2,
    dim: int = 16,
    depths: tuple[int, ...] = (2, 2),
    heads: tuple[int, ...] = (2, 4),
    window: int | Size = 7,
    pretrained: tuple[Size, ...] | None = None,
    classes: int = 5,
    task: Task | None = None,
    rule: str = "timm",
    attention: str = "window",
) -> SwinSpec:
    """A spec as a loader would make it: windows clipped to the feature map, channels doubled at each merging.

    The default has a first stage of 14x14 tokens, shifted, and a last one of a single window.
    """
    stages = []
    configured = (window, window) if isinstance(window, int) else window
    for index, (depth, number) in enumerate(zip(depths, heads, strict=True)):
        feature_map = (-(-image_size[0] // (patch * 2**index)), -(-image_size[1] // (patch * 2**index)))
        clipped = RULES[rule].block(feature_map, configured, odd=False).window
        trained = None if family == "v1" else clipped if pretrained is None else pretrained[index]
        stages.append(StageSpec(depth, dim * 2**index, number, clipped, 2 * dim * 2**index, trained))
    return SwinSpec(
        family, image_size, patch, 3, tuple(stages), task or Classifier(classes), rule=rule, attention=attention
    )


def random_reference(spec: SwinSpec, seed: int = 0) -> Any:
    """The paper form with random non-trivial weights, FP32, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    model = build_reference(spec)
    state = {name: _random(name, tensor, generator) for name, tensor in model.state_dict().items()}
    if spec.family == "v2":
        for name in [name for name in state if name.endswith("qkv.bias")]:
            state[name].chunk(3)[1].zero_()  # the key has none
    model.load_state_dict(state)
    return model.eval()


def _random(name: str, tensor: Tensor, generator: torch.Generator) -> Tensor:
    uniform = torch.rand(tensor.shape, generator=generator)
    normal = torch.randn(tensor.shape, generator=generator)
    if re.search(r"norm\d?\.weight$", name) or name.endswith("running_var"):
        return 0.5 + uniform
    if name.endswith((".features", ".centroids")):
        return normal
    if name.endswith("relative_position_bias_table"):
        return normal
    if name.endswith("logit_scale"):
        # Around ln(10), where training starts and mostly stays, but for one head a block beyond the clamp. With
        # every head there, the scores are 100 times a cosine: FP32's rounding of a unit vector then moves a softmax by
        # 1e-5, in timm and in ours alike, and a comparison in FP32 would measure the conditioning, not the form.
        scales = math.log(10) + 0.5 * normal
        scales[-1] = LOGIT_SCALE_MAX + 0.4
        return scales
    if name.endswith("cpb_mlp.0.weight"):
        return normal
    if name.endswith("cpb_mlp.2.weight"):
        return 0.1 * normal  # 512 of them, so that 16 * sigmoid spans most of 0..16
    if name.endswith(".bias"):
        return 0.1 * normal
    if name == "patch_embed.proj.weight":
        return 0.2 * normal
    if tensor.ndim == 4:  # restoration has convolutions one behind the other, which must not lose what comes in
        return normal / math.sqrt(tensor[0].numel())
    return 0.05 * normal


def random_images(spec: SwinSpec, batch: int, seed: int = 1) -> Tensor:
    """Standard normal images [batch, channels, Hpx, Wpx], FP64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, spec.channels, *spec.image_size, generator=generator, dtype=torch.float64)


def timm_state(model: ReferenceSwin) -> dict[str, Tensor]:
    """The weights of `model` as timm would save them; written from timm's class, not from our dialect."""
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        name = re.sub(r"^stages\.(\d+)\.merge\.", r"layers.\1.downsample.", name)
        name = re.sub(r"^stages\.", "layers.", name)
        name = re.sub(r"\.mlp\.(0|2)\.", lambda found: f".mlp.fc{1 + int(found[1]) // 2}.", name)
        name = re.sub(r"^head\.", "head.fc.", name)
        if model.spec.family == "v2" and name.endswith("attn.qkv.bias"):
            query, key, value = tensor.chunk(3)
            assert not key.any(), "V2's key has no bias"
            state[name.replace("qkv.bias", "q_bias")] = query.clone()
            state[name.replace("qkv.bias", "v_bias")] = value.clone()
        else:
            state[name] = tensor.clone()
    return state


def timm_twin(model: ReferenceSwin) -> Any:
    """timm's own model with the weights of `model`, in evaluation mode; the test is skipped without timm."""
    pytest.importorskip("timm")
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    spec = model.spec
    arguments: dict[str, Any] = {
        "img_size": spec.image_size,
        "patch_size": spec.patch,
        "in_chans": spec.channels,
        "num_classes": spec.task.classes,
        "embed_dim": spec.stages[0].dim,
        "depths": tuple(stage.depth for stage in spec.stages),
        "num_heads": tuple(stage.heads for stage in spec.stages),
        "window_size": tuple(stage.window for stage in spec.stages),
        "mlp_ratio": spec.stages[0].mlp_dim / spec.stages[0].dim,
        "drop_path_rate": 0.0,
    }
    if spec.family == "v2":
        arguments["pretrained_window_sizes"] = tuple(stage.pretrained_window for stage in spec.stages)
    twin = (SwinTransformer if spec.family == "v1" else SwinTransformerV2)(**arguments)
    twin.load_state_dict(timm_state(model), strict=True)
    return twin.eval()


def relative_error(got: Tensor, wanted: Tensor) -> float:
    """max|got - wanted| / max|wanted|, in FP64."""
    got, wanted = got.detach().double(), wanted.detach().double()
    return float((got - wanted).abs().max() / wanted.abs().max())
