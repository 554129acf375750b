"""Regenerate the golden tensors by running the original code bases.

The originals are not in this repository, and nothing of their code is: this script only calls them. Each is built with
tiny dimensions, filled with random weights that are far from their initialisation (so that an error in any bias, norm
or table shows), and run in FP64; what it saves and what it answers becomes one ``.safetensors`` file a case.

    python tests/golden/regenerate.py --originals DIR [--only NAME ...] [--check]

``--check`` writes nothing and says whether the stored files still are what the originals give. DIR holds checkouts
under these names (the commits are those in ``ORIGINALS`` below):

    Swin-Transformer/                   github.com/microsoft/Swin-Transformer
    Swin-Transformer-Object-Detection/  github.com/SwinTransformer/Swin-Transformer-Object-Detection
    SwinIR/                             github.com/JingyunLiang/SwinIR
    swin2sr/                            github.com/mv-lab/swin2sr
    Video-Swin-Transformer/             github.com/SwinTransformer/Video-Swin-Transformer (for the foreign keys only)
    python/                             Python packages, each without its dependencies: mmpretrain 1.2.0, mmdet 3.3.0,
                                        mmsegmentation 1.2.2, mmengine 0.10.7, mmcv-lite 2.1.0, monai 1.6.1, and what
                                        these import: addict, einops, importlib_metadata 8.5.0, opencv-python-headless,
                                        platformdirs, scipy, termcolor, yapf, zipp

timm and torchvision come from this project's ``oracles`` extra. Every case has its own seeds, so one can be remade
alone. Weights and images are bit for bit the same everywhere; outputs are so to the rounding of FP64.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import math
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

HERE = Path(__file__).parent
FOREIGN_KEYS = "foreign_keys"
PACKAGES = "python"
FIXED_WIDTH, NARROW_WIDTH = 64, 16
ABOVE_THE_CLAMP = 5.2  # ln 100 is 4.605
OUTPUT_TOLERANCE = 1e-9

ORIGINALS: dict[str, dict[str, str]] = {
    "microsoft": {
        "name": "microsoft/Swin-Transformer",
        "version": "f82860bfb5225915aca09c3227159ee9e1df874d",
        "folder": "Swin-Transformer",
    },
    "microsoft_detection": {
        "name": "SwinTransformer/Swin-Transformer-Object-Detection",
        "version": "c7b20110addde0f74b1fbf812b403d16a59a87a9",
        "folder": "Swin-Transformer-Object-Detection",
    },
    "mmpretrain": {"name": "mmpretrain", "version": "1.2.0", "folder": PACKAGES},
    "mmdet": {"name": "mmdet", "version": "3.3.0", "folder": PACKAGES},
    "mmseg": {"name": "mmsegmentation", "version": "1.2.2", "folder": PACKAGES},
    "swinir": {
        "name": "JingyunLiang/SwinIR",
        "version": "6545850fbf8df298df73d81f3e8cba638787c8bd",
        "folder": "SwinIR",
    },
    "swin2sr": {
        "name": "mv-lab/swin2sr",
        "version": "6f25d7689813f7dd12c5a212b638066fa71bc9e6",
        "folder": "swin2sr",
    },
    "video_swin": {
        "name": "SwinTransformer/Video-Swin-Transformer",
        "version": "db018fb8896251711791386bbd2127562fd8d6a6",
        "folder": "Video-Swin-Transformer",
    },
}


class Registry:
    """Stands in for a registry of models, which only has to hand back what it is asked to register."""

    def register_module(self) -> Callable[[type], type]:
        return lambda registered: registered


def stub(name: str, **attributes: object) -> ModuleType:
    """An empty module, importable as a package."""
    module = ModuleType(name)
    module.__dict__.update(attributes, __path__=[])
    return module


@contextmanager
def standing_in(*modules: ModuleType) -> Iterator[None]:
    """These modules in place of those of the same names, while an original is imported."""
    names = [module.__name__ for module in modules]
    before = {name: sys.modules[name] for name in names if name in sys.modules}
    sys.modules.update(zip(names, modules, strict=True))
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(before)


def load_file(path: Path, name: str, *stand_ins: ModuleType) -> ModuleType:
    """One source file as a module, without the package around it."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    with standing_in(*stand_ins):
        spec.loader.exec_module(module)
    return module


def bare_packages(root: Path, *names: str) -> None:
    """Packages of which only the modules that are asked for run, since their ``__init__`` import far too much."""
    for name in names:
        module = stub(name)
        module.__path__ = [str(root.joinpath(*name.split(".")))]
        sys.modules[name] = module


# One builder an original: the folder with the originals and the constructor's arguments in, the model out.


@cache
def microsoft_module(originals: Path, file: str) -> ModuleType:
    return load_file(originals / ORIGINALS["microsoft"]["folder"] / "models" / file, f"golden_microsoft_{file[:-3]}")


def microsoft_v1(originals: Path, arguments: Mapping[str, Any]) -> nn.Module:
    return microsoft_module(originals, "swin_transformer.py").SwinTransformer(**arguments)


def microsoft_v2(originals: Path, arguments: Mapping[str, Any]) -> nn.Module:
    return microsoft_module(originals, "swin_transformer_v2.py").SwinTransformerV2(**arguments)


@cache
def microsoft_detection_module(originals: Path) -> ModuleType:
    folder = originals / ORIGINALS["microsoft_detection"]["folder"]
    return load_file(
        folder / "mmdet" / "models" / "backbones" / "swin_transformer.py",
        "golden_detection.models.backbones.swin_transformer",
        stub("golden_detection"),
        stub("golden_detection.models"),
        stub("golden_detection.models.builder", BACKBONES=Registry()),
        stub("golden_detection.models.backbones"),
        stub("mmcv_custom", load_checkpoint=None),
        stub("mmdet"),
        stub("mmdet.utils", get_root_logger=None),
    )


def microsoft_detection(originals: Path, arguments: Mapping[str, Any]) -> nn.Module:
    return microsoft_detection_module(originals).SwinTransformer(**arguments)


@cache
def import_mmpretrain(originals: Path) -> Callable[[str], ModuleType]:
    models = "mmpretrain.models"
    parts = ("backbones", "classifiers", "heads", "necks")
    bare_packages(originals / PACKAGES, "mmpretrain", models, *(f"{models}.{part}" for part in parts))
    return lambda name: importlib.import_module(f"{models}.{name}")


def mmpretrain(originals: Path, arguments: Mapping[str, Any], file: str, backbone: str) -> nn.Module:
    module = import_mmpretrain(originals)
    body = getattr(module(f"backbones.{file}"), backbone)(**arguments["backbone"])
    arch = arguments["backbone"]["arch"]
    # A loss is built unless one is given; it takes no part in the forward pass and has no weights.
    head = module("heads.linear_head").LinearClsHead(
        num_classes=arguments["num_classes"],
        in_channels=arch["embed_dims"] * 2 ** (len(arch["depths"]) - 1),
        loss=nn.CrossEntropyLoss(),
    )
    neck = module("necks.gap").GlobalAveragePooling()
    return module("classifiers.image").ImageClassifier(backbone=body, neck=neck, head=head)


def mmpretrain_v1(originals: Path, arguments: Mapping[str, Any]) -> nn.Module:
    return mmpretrain(originals, arguments, "swin_transformer", "SwinTransformer")


def mmpretrain_v2(originals: Path, arguments: Mapping[str, Any]) -> nn.Module:
    return mmpretrain(originals, arguments, "swin_transformer_v2", "SwinTransformerV2")


@cache
def mmdet_module(originals: Path) -> ModuleType:
    layers, utils = "mmdet.models.layers", "mmdet.utils"
    bare_packages(originals / PACKAGES, "mmdet", "mmdet.models", "mmdet.models.backbones", layers, utils)
    bare_packages(originals / PACKAGES, f"{layers}.transformer")
    typing_utils = importlib.import_module(f"{utils}.typing_utils")
    sys.modules[utils].__dict__.update(vars(typing_utils))
    patches = importlib.import_module(f"{layers}.transformer.utils")
    sys.modules[layers].__dict__.update(PatchEmbed=patches.PatchEmbed, PatchMerging=patches.PatchMerging)
    return importlib.import_module("mmdet.models.backbones.swin")


def mmdet(originals: Path, arguments: Mapping[str, Any]) -> nn.Module:
    return mmdet_module(originals).SwinTransformer(**arguments)


@cache
def mmseg_module(originals: Path) -> ModuleType:
    parts = ("backbones", "utils")
    bare_packages(originals / PACKAGES, "mmseg", "mmseg.models", *(f"mmseg.models.{part}" for part in parts))
    return importlib.import_module("mmseg.models.backbones.swin")


def mmseg(originals: Path, arguments: Mapping[str, Any]) -> nn.Module:
    return mmseg_module(originals).SwinTransformer(**arguments)


@cache
def restoration_module(originals: Path, original: str, file: str) -> ModuleType:
    return load_file(originals / ORIGINALS[original]["folder"] / "models" / file, f"golden_{original}")


def swinir(originals: Path, arguments: Mapping[str, Any]) -> nn.Module:
    return restoration_module(originals, "swinir", "network_swinir.py").SwinIR(**arguments)


def swin2sr(originals: Path, arguments: Mapping[str, Any]) -> nn.Module:
    return restoration_module(originals, "swin2sr", "network_swin2sr.py").Swin2SR(**arguments)


@dataclass(frozen=True)
class Case:
    """One golden file.

    Attributes:
        original: Key into ``ORIGINALS``.
        build: Makes the original's model.
        arguments: What its constructor is given.
        sizes: Heights and widths of the images.
        output: ``logits``, ``stages`` or ``image``.
        wrapper: The entry of the checkpoint file under which this code base saves the state dict.
        prefix: What precedes the model's own keys there; in the golden file they have it already.
        channels: Of the images.
        narrowed: The convolutions after the blocks, which the originals make 64 wide, are cut down to
            ``NARROW_WIDTH``: those weights would be most of this folder.
    """

    original: str
    build: Callable[[Path, Mapping[str, Any]], nn.Module]
    arguments: Mapping[str, Any]
    sizes: tuple[tuple[int, int], ...]
    output: str
    wrapper: str
    prefix: str = ""
    channels: int = 3
    narrowed: bool = False


def _microsoft(build: Callable[[Path, Mapping[str, Any]], nn.Module], **arguments: Any) -> Case:
    size = arguments["img_size"]
    arguments = {"patch_size": 4, "num_classes": 5, "embed_dim": 8, "mlp_ratio": 2.0, **arguments}
    image = (size, size) if isinstance(size, int) else size
    return Case("microsoft", build, arguments, (image,), "logits", "model")


def _dense(original: str, build: Callable[[Path, Mapping[str, Any]], nn.Module], **arguments: Any) -> Case:
    return Case(original, build, arguments, _DENSE_SIZES, "stages", "state_dict", "backbone.")


def _restoration(
    original: str,
    build: Callable[[Path, Mapping[str, Any]], nn.Module],
    wrapper: str = "params",
    narrowed: bool = False,
    **arguments: Any,
) -> Case:
    arguments = {
        "img_size": 8,
        "window_size": 4,
        "in_chans": 3,
        "img_range": 1.0,
        "embed_dim": 8,
        "depths": [2, 2],
        "num_heads": [2, 2],
        "mlp_ratio": 2,
        "resi_connection": "1conv",
        **arguments,
    }
    window = arguments["window_size"]
    # The size it was trained at, another multiple of the window, and one that is padded by reflection on both axes.
    trained = arguments["img_size"]
    sizes = ((trained, trained), (2 * window, 3 * window), (3 * window - 1, 2 * window + 1))
    if arguments["upsampler"] not in ("", "pixelshuffledirect"):
        sizes = sizes[2:] if arguments["upscale"] > 2 else sizes[1:]  # for the space that large images take
    channels = arguments["in_chans"]
    return Case(original, build, arguments, sizes, "image", wrapper, channels=channels, narrowed=narrowed)


_TWO_STAGES = {"depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
_THREE_STAGES = {"depths": [2, 2, 2], "num_heads": [2, 4, 4], "window_size": 4}
_TWO_OUTPUTS = {**_TWO_STAGES, "out_indices": [0, 1]}
_OPENMMLAB = {"patch_size": 4, "strides": [4, 2], "embed_dims": 8, "mlp_ratio": 2}
# With patches of 4 and windows of 4: maps 8x8 and 4x4, where the last stage is exactly one window; image, windows and
# merging padded, with maps 9x11 and 5x6; maps 4x3 and 2x2, smaller than a window.
_DENSE_SIZES = ((32, 32), (35, 43), (16, 12))


def _mmpretrain(
    build: Callable[[Path, Mapping[str, Any]], nn.Module],
    sizes: tuple[tuple[int, int], ...],
    arch: Mapping[str, Any],
    **backbone: Any,
) -> Case:
    depths = [2] * len(arch["num_heads"])
    backbone = {
        "arch": {"embed_dims": 8, "depths": depths, **arch},
        "img_size": 32,
        "window_size": 4,
        "out_indices": [len(depths) - 1],
        "stage_cfgs": {"block_cfgs": {"ffn_ratio": 2}},
        **backbone,
    }
    arguments = {"backbone": backbone, "num_classes": 5}
    return Case("mmpretrain", build, arguments, sizes, "logits", "state_dict")


CASES: dict[str, Case] = {
    # Feature maps 8x8 (shifted) and 4x4, which is one window and hence not shifted.
    "microsoft_v1": _microsoft(microsoft_v1, img_size=32, **_TWO_STAGES),
    # Maps 8x16, 4x8 (one side is the window: no shift on either) and 2x4, where the window becomes 2x2.
    "microsoft_v1_clipped": _microsoft(microsoft_v1, img_size=[16, 32], patch_size=2, **_THREE_STAGES),
    "microsoft_v1_options": _microsoft(
        microsoft_v1, img_size=32, ape=True, patch_norm=False, qkv_bias=False, qk_scale=0.3, **_TWO_STAGES
    ),
    # Maps 8x8, 4x4 and 2x2, where the window is clipped.
    "microsoft_v2": _microsoft(microsoft_v2, img_size=16, patch_size=2, **_THREE_STAGES),
    # Maps 12x12, 6x6 and 3x3: window 6 after 4, and in the clipped last stage 3 after 2.
    "microsoft_v2_pretrained": _microsoft(
        microsoft_v2,
        img_size=24,
        patch_size=2,
        pretrained_window_sizes=[4, 4, 2],
        **{**_THREE_STAGES, "window_size": 6},
    ),
    "microsoft_v2_no_qkv_bias": _microsoft(
        microsoft_v2, img_size=16, patch_size=2, qkv_bias=False, depths=[2], num_heads=[2], window_size=4
    ),
    "microsoft_detection_v1": _dense(
        "microsoft_detection", microsoft_detection, patch_size=4, embed_dim=8, mlp_ratio=2.0, **_TWO_OUTPUTS
    ),
    # The third size has maps 8x16 and 4x8: one side is the window, and neither axis is shifted.
    "mmpretrain_v1": _mmpretrain(mmpretrain_v1, (*_DENSE_SIZES[:2], (32, 64)), {"num_heads": [2, 4]}),
    "mmpretrain_v1_pad_small_map": _mmpretrain(mmpretrain_v1, _DENSE_SIZES, {"num_heads": [2, 4]}, pad_small_map=True),
    "mmpretrain_v2": _mmpretrain(
        mmpretrain_v2, _DENSE_SIZES[:2], {"num_heads": [2, 4], "extra_norm_every_n_blocks": 0}
    ),
    "mmpretrain_v2_extra_norm": _mmpretrain(
        mmpretrain_v2,
        ((16, 16),),
        {"num_heads": [2], "extra_norm_every_n_blocks": 2},
        img_size=16,
        patch_size=2,
        pretrained_window_sizes=[3],
    ),
    "mmdet_v1": _dense("mmdet", mmdet, **_OPENMMLAB, **_TWO_OUTPUTS),
    "mmseg_v1": _dense("mmseg", mmseg, **_OPENMMLAB, **_TWO_OUTPUTS),
    "swinir_classical_x2": _restoration("swinir", swinir, upscale=2, upsampler="pixelshuffle"),
    "swinir_light_x2": _restoration("swinir", swinir, upscale=2, upsampler="pixelshuffledirect"),
    "swinir_real_x4": _restoration("swinir", swinir, "params_ema", narrowed=True, upscale=4, upsampler="nearest+conv"),
    "swinir_denoise": _restoration("swinir", swinir, upscale=1, upsampler=""),
    "swinir_denoise_3conv": _restoration("swinir", swinir, upscale=1, upsampler="", resi_connection="3conv"),
    # As the released models against JPEG artefacts: grey, an odd window, and a range that no checkpoint tells.
    "swinir_jpeg_gray": _restoration(
        "swinir", swinir, upscale=1, upsampler="", in_chans=1, img_range=255.0, window_size=5, img_size=10
    ),
    # Trained at one window: no block is shifted, at any size.
    "swinir_denoise_one_window": _restoration("swinir", swinir, upscale=1, upsampler="", img_size=4),
    "swin2sr_classical_x2": _restoration("swin2sr", swin2sr, narrowed=True, upscale=2, upsampler="pixelshuffle"),
    "swin2sr_light_x2": _restoration("swin2sr", swin2sr, upscale=2, upsampler="pixelshuffledirect"),
}


def generator(case: str, key: str) -> np.random.RandomState:
    """Seeded by what it is for, so that a case does not depend on the order of anything; this stream is frozen."""
    return np.random.RandomState(zlib.crc32(f"{case}/{key}".encode()))


def weight(case: str, module: nn.Module, key: str, shape: torch.Size) -> Tensor:
    """Random values of a size at which an error in this one tensor shows in the output."""
    random = generator(case, key)
    normal = random.standard_normal(tuple(shape))
    leaf = key.rpartition(".")[2]
    if isinstance(module, nn.LayerNorm):
        values = 0.3 * normal + (1.0 if leaf == "weight" else 0.0)
    elif leaf == "relative_position_bias_table":
        values = 0.7 * normal
    elif leaf == "logit_scale":
        values = math.log(10) + random.uniform(-0.5, 0.5, tuple(shape))
        values[0] = ABOVE_THE_CLAMP
    elif leaf == "absolute_pos_embed" or ".cpb_mlp.0." in key:
        values = 0.5 * normal
    elif ".cpb_mlp.2." in key:  # 512 inputs, half of them zero: sixteen times a sigmoid of about unit spread
        values = 0.1 * normal
    elif len(shape) > 1:
        values = normal / math.sqrt(math.prod(shape[1:]))
    else:
        values = 0.3 * normal
    return torch.from_numpy(values).float()


def randomise(case: str, model: nn.Module) -> None:
    with torch.no_grad():
        for name, module in model.named_modules():
            for leaf, parameter in module.named_parameters(recurse=False):
                parameter.copy_(weight(case, module, f"{name}.{leaf}", parameter.shape))


def narrow(model: nn.Module) -> None:
    """Cut the convolutions of fixed width, and those before a pixel shuffle, which are four times as wide."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            inputs, outputs = (
                width // FIXED_WIDTH * NARROW_WIDTH if width >= FIXED_WIDTH else width
                for width in (module.in_channels, module.out_channels)
            )
            module.in_channels, module.out_channels = inputs, outputs
            module.weight = nn.Parameter(module.weight[:outputs, :inputs].detach())
            module.bias = nn.Parameter(module.bias[:outputs].detach())


def image(name: str, case: Case, index: int) -> Tensor:
    """Of unit spread as after normalisation, or in 0..1 where images are restored."""
    random = generator(name, f"image.{index}")
    shape = (2, case.channels, *case.sizes[index])
    values = random.uniform(0, 1, shape) if case.output == "image" else random.standard_normal(shape)
    return torch.from_numpy(values).float()


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """What the originals make in passing (masks, the clamp of logit scales) is then of this precision too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def golden(name: str, originals: Path) -> dict[str, Tensor]:
    """Everything that the file of one case holds."""
    case = CASES[name]
    model = case.build(originals, case.arguments)
    model.eval()  # some return nothing from it
    if case.narrowed:
        narrow(model)
    randomise(name, model)
    tensors = {f"checkpoint.{case.prefix}{key}": value.clone() for key, value in model.state_dict().items()}
    model.double()  # after the above: the weights stay those FP32 values
    for index in range(len(case.sizes)):
        pixels = image(name, case, index)
        tensors[f"image.{index}"] = pixels
        with torch.no_grad(), default_dtype(torch.float64):
            answer = model(pixels.double())
        if case.output == "stages":
            named = {f"stage{stage}": features for stage, features in enumerate(answer)}
        else:
            named = {case.output: answer}
        tensors.update({f"output.{index}.{key}": value.contiguous() for key, value in named.items()})
    return tensors


def metadata(name: str) -> dict[str, str]:
    """One entry, since the file format keeps several in no fixed order."""
    case = CASES[name]
    original = ORIGINALS[case.original]
    facts = {
        "case": name,
        "original": original["name"],
        "version": original["version"],
        "arguments": case.arguments,
        "wrapper": case.wrapper,
        "prefix": case.prefix,
        "narrowed": case.narrowed,
        "sizes": case.sizes,
        "output": case.output,
    }
    return {"golden": json.dumps(facts)}


def differences(path: Path, name: str, tensors: Mapping[str, Tensor]) -> list[str]:
    """In what a stored file is not what the originals give now."""
    with safe_open(path, "pt") as file:
        stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        found = [] if file.metadata() == metadata(name) else ["metadata"]
    found += sorted(stored.keys() ^ tensors.keys())
    for key in sorted(stored.keys() & tensors.keys()):
        ours, theirs = stored[key], tensors[key]
        if key.startswith("output."):
            same = ours.shape == theirs.shape and torch.allclose(ours, theirs, OUTPUT_TOLERANCE, OUTPUT_TOLERANCE)
        else:
            same = ours.dtype == theirs.dtype and torch.equal(ours, theirs)
        if not same:
            found.append(key)
    return found


# Checkpoints that are to be recognised and refused: keys and shapes say enough.


def video_swin(originals: Path) -> nn.Module:
    folder = originals / ORIGINALS["video_swin"]["folder"]
    module = load_file(
        folder / "mmaction" / "models" / "backbones" / "swin_transformer.py",
        "golden_video.models.backbones.swin_transformer",
        stub("golden_video"),
        stub("golden_video.models"),
        stub("golden_video.models.builder", BACKBONES=Registry()),
        stub("golden_video.models.backbones"),
        stub("mmcv"),
        stub("mmcv.runner", load_checkpoint=None),
        stub("mmaction"),
        stub("mmaction.utils", get_root_logger=None),
    )
    return module.SwinTransformer3D(patch_size=(2, 4, 4), window_size=(8, 7, 7), patch_norm=True)


def foreign_models(originals: Path) -> dict[str, tuple[Callable[[], nn.Module], str]]:
    """What makes each model, and what precedes its keys on disk."""

    def imported(module: str, name: str, **arguments: Any) -> nn.Module:
        return getattr(importlib.import_module(module), name)(**arguments)

    def enlarged(upsampler: str) -> nn.Module:
        return swin2sr(originals, {**CASES["swin2sr_light_x2"].arguments, "upscale": 4, "upsampler": upsampler})

    return {
        "timm_swinv2_cr": (lambda: imported("timm", "create_model", model_name="swinv2_cr_tiny_ns_224"), ""),
        "torchvision_swin3d_t": (lambda: imported("torchvision.models.video", "swin3d_t"), ""),
        "video_swin": (lambda: video_swin(originals), "backbone."),
        "monai_swin_unetr": (
            lambda: imported("monai.networks.nets", "SwinUNETR", in_channels=1, out_channels=2, feature_size=24),
            "",
        ),
        "microsoft_swin_mlp": (lambda: microsoft_module(originals, "swin_mlp.py").SwinMLP(), ""),
        "swin2sr_pixelshuffle_aux": (lambda: enlarged("pixelshuffle_aux"), ""),
        "swin2sr_pixelshuffle_hf": (lambda: enlarged("pixelshuffle_hf"), ""),
    }


def foreign_keys(originals: Path) -> dict[str, list[list[Any]]]:
    """The first and the last keys of each: stem and first blocks, and what ends the model."""
    samples = {}
    for name, (make, prefix) in foreign_models(originals).items():
        keys = [[prefix + key, list(value.shape)] for key, value in make().state_dict().items()]
        samples[name] = keys if len(keys) <= 60 else keys[:40] + keys[-20:]
    return samples


def as_json(samples: Mapping[str, list[list[Any]]]) -> str:
    """One key a line."""
    blocks = []
    for name, keys in samples.items():
        lines = ",\n".join(f"    {json.dumps(key)}" for key in keys)
        blocks.append(f"  {json.dumps(name)}: [\n{lines}\n  ]")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Regenerate the golden tensors by running the original code bases.")
    parser.add_argument("--originals", type=Path, required=True, help="folder with the checkouts (see the docstring)")
    parser.add_argument("--only", nargs="+", choices=[*CASES, FOREIGN_KEYS], help="these cases instead of all")
    parser.add_argument("--check", action="store_true", help="compare with the stored files instead of writing them")
    options = parser.parse_args()
    originals = options.originals.resolve()
    sys.path.append(str(originals / PACKAGES))  # last: what this environment has comes first
    warnings.simplefilter("ignore")  # of the originals' old imports and calls
    failed = 0
    for name in options.only or [*CASES, FOREIGN_KEYS]:
        if name == FOREIGN_KEYS:
            path, text = HERE / f"{name}.json", as_json(foreign_keys(originals))
            found = [] if not options.check or path.read_text(encoding="utf-8") == text else ["keys"]
            if not options.check:
                path.write_text(text, encoding="utf-8")
        else:
            path, tensors = HERE / f"{name}.safetensors", golden(name, originals)
            found = differences(path, name, tensors) if options.check else []
            if not options.check:
                path.write_bytes(save(tensors, metadata(name)))
        failed += bool(found)
        print(f"{path.name}: {path.stat().st_size} bytes" + (f", differs in {', '.join(found)}" if found else ""))
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
