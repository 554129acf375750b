"""Every published Swin of timm, torchvision and transformers, by its shapes and what stands beside it alone.

The models are made on the meta device, without weights: what is inferred from the shapes of their keys and from the
side-car that their library writes is held against the window, shift, map and pre-trained window that each of their
blocks has, at the published size and at others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from swin_deploy.checkpoint.dialect import Reading
from swin_deploy.checkpoint.foreign import refuse_foreign
from swin_deploy.checkpoint.keys import KeyTable
from swin_deploy.checkpoint.load import DIALECTS
from swin_deploy.checkpoint.sidecar import read_sidecar
from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.checkpoint.task import Classifier
from swin_deploy.errors import BadInput

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
transformers = pytest.importorskip("transformers")

Size = tuple[int, int]
TIMM = [name for name in timm.list_models("swin*") if not name.startswith("swinv2_cr")]
FOREIGN = timm.list_models("swinv2_cr*")
# Published size: the images that the weights' own preprocessing makes.
TORCHVISION = {"swin_t": 224, "swin_s": 224, "swin_b": 224, "swin_v2_t": 256, "swin_v2_s": 256, "swin_v2_b": 256}
# Beside the published size: smaller, larger, and with sides that no window divides.
OTHERS = ((96, 96), (416, 352))
RESIZED = [name for name in TIMM if "_small_" not in name or name.startswith("swin_s3")]


@dataclass(frozen=True)
class Block:
    """What is in force in one block.

    Attributes:
        feature_map: Height and width in tokens.
        window: In tokens.
        shift: In tokens.
        pretrained: V2: the window that normalises the coordinates; the window itself where there is no other.
    """

    feature_map: Size
    window: Size
    shift: Size
    pretrained: Size | None


def inferred(spec: SwinSpec) -> list[Block]:
    """The same of an inferred architecture."""
    blocks = []
    for stage, index in spec.blocks():
        geometry = spec.geometry(stage, index)
        pretrained = spec.stages[stage].pretrained_window
        blocks.append(Block(geometry.feature_map, geometry.window, geometry.shift, pretrained))
    return blocks


def read(state: Mapping[str, Tensor], folder: Path, image_size: Size | None = None, **options: Any) -> Reading:
    """What is made of a state_dict beside the side-car in `folder`."""
    table = KeyTable("published", {name: tuple(tensor.shape) for name, tensor in state.items()})
    hints = read_sidecar(folder / "model.safetensors").hints.overridden(image_size=image_size, **options)
    dialect = next(dialect for dialect in DIALECTS if dialect.recognises(table))
    layout = dialect.layout(table, hints)
    if layout.read is not None:
        return layout.read(table, layout, state, hints)
    from swin_deploy.checkpoint.architecture import read_swin

    return read_swin(table, layout, state, hints)


def shapes(model: nn.Module) -> dict[str, Tensor]:
    """The state_dict with tensors of one element, which take no memory."""
    return {name: torch.zeros(()).expand(tensor.shape) for name, tensor in model.state_dict().items()}


def timm_model(name: str, **arguments: Any) -> Any:
    with torch.device("meta"):
        return timm.create_model(name, **arguments)


def write_timm_config(model: nn.Module, folder: Path, *, arguments: bool) -> None:
    """timm's side-car; those on the hub were written before it recorded the arguments."""
    path = folder / "config.json"
    import_module("timm.models._hub").save_config_for_hf(model, str(path))
    if not arguments:
        raw = json.loads(path.read_text(encoding="utf-8"))
        raw.pop("model_args", None)
        path.write_text(json.dumps(raw), encoding="utf-8")


def timm_blocks(model: Any) -> list[Block]:
    blocks = []
    for stage in model.layers:
        for block in stage.blocks:
            window = pair(block.window_size)
            stated = getattr(block.attn, "pretrained_window_size", None)
            pretrained = None if stated is None else window if pair(stated)[0] == 0 else pair(stated)
            blocks.append(Block(pair(block.input_resolution), window, pair(block.shift_size), pretrained))
    return blocks


def pair(value: Any) -> Size:
    sides = (value, value) if isinstance(value, int) else value
    return int(sides[0]), int(sides[1])


@pytest.mark.parametrize("arguments", [False, True], ids=["as on the hub", "with model_args"])
@pytest.mark.parametrize("name", TIMM)
def test_a_published_timm_model_is_read_as_it_is(name: str, arguments: bool, tmp_path: Path) -> None:
    model = timm_model(name)
    write_timm_config(model, tmp_path, arguments=arguments)
    spec = read(shapes(model), tmp_path).spec
    assert inferred(spec) == timm_blocks(model)
    assert spec.task == Classifier(model.num_classes)


@pytest.mark.parametrize("image_size", OTHERS, ids=str)
@pytest.mark.parametrize("name", RESIZED)
def test_a_published_timm_model_is_resized_as_timm_does_it(name: str, image_size: Size, tmp_path: Path) -> None:
    published = timm_model(name)
    write_timm_config(published, tmp_path, arguments=False)
    resized = timm_model(name, img_size=image_size)
    assert inferred(read(shapes(published), tmp_path, image_size).spec) == timm_blocks(resized)


def test_a_window_other_than_the_name_says_keeps_the_pretrained_windows_of_the_name(tmp_path: Path) -> None:
    model = timm_model("swinv2_base_window12to16_192to256", window_size=8, img_size=128)
    write_timm_config(model, tmp_path, arguments=True)
    assert inferred(read(shapes(model), tmp_path).spec) == timm_blocks(model)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
def test_windows_of_each_stage_are_read_from_the_arguments(name: str, tmp_path: Path) -> None:
    model = timm_model(name, window_size=[4, [2, 8], 6, 3], img_size=288)
    write_timm_config(model, tmp_path, arguments=True)
    assert inferred(read(shapes(model), tmp_path).spec) == timm_blocks(model)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("swin_tiny_patch4_window7_224", {"always_partition": True}),
        ("swin_tiny_patch4_window7_224", {"global_pool": "max"}),
        ("swinv2_tiny_window8_256", {"act_layer": "relu"}),
    ],
    ids=str,
)
def test_what_no_key_tells_and_the_forms_have_not_is_refused(
    name: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    model = timm_model(name, **arguments)
    write_timm_config(model, tmp_path, arguments=True)
    (what,) = arguments
    with pytest.raises(BadInput, match=what):
        read(shapes(model), tmp_path)


def test_windows_of_their_own_without_a_name_are_refused_at_another_size_only(tmp_path: Path) -> None:
    model = timm_model("swin_s3_tiny_224")
    side_car = tmp_path / "config.json"
    side_car.write_text(json.dumps({"arguments": {"img_size": 224}}), encoding="utf-8")
    assert inferred(read(shapes(model), tmp_path).spec) == timm_blocks(model)
    with pytest.raises(BadInput, match="one entry a stage"):
        read(shapes(model), tmp_path, (448, 448))
    side_car.write_text(json.dumps({"arguments": {"img_size": 224, "window_size": [7, 7, 14, 7]}}), encoding="utf-8")
    larger = timm_model("swin_s3_tiny_224", img_size=448)
    assert inferred(read(shapes(model), tmp_path, (448, 448)).spec) == timm_blocks(larger)


def test_a_clipped_window_is_not_taken_for_one_of_its_own(tmp_path: Path) -> None:
    model = timm_model("swin_base_patch4_window12_384", img_size=192)  # 6 tokens are left in the last stage
    (tmp_path / "config.json").write_text(json.dumps({"arguments": {"img_size": 192}}), encoding="utf-8")
    larger = timm_model("swin_base_patch4_window12_384", img_size=(384, 320))
    assert inferred(read(shapes(model), tmp_path, (384, 320)).spec) == timm_blocks(larger)


@pytest.mark.parametrize("name", FOREIGN)
def test_swinv2_cr_is_refused_by_name(name: str) -> None:
    table = KeyTable(name, {key: tuple(tensor.shape) for key, tensor in timm_model(name).state_dict().items()})
    with pytest.raises(BadInput, match="swinv2_cr"):
        refuse_foreign(table)


# torchvision and transformers


def torchvision_model(name: str) -> Any:
    with torch.device("meta"):
        return getattr(torchvision.models, name)()


def with_coordinates(state: dict[str, Tensor], side: int) -> dict[str, Tensor]:
    """torchvision's V2 saves its coordinates, from which the window's divisor is read."""
    from torchvision.models.swin_transformer import ShiftedWindowAttentionV2

    table = ShiftedWindowAttentionV2(8, [side, side], [0, 0], 1).relative_coords_table
    return {name: table if name.endswith("relative_coords_table") else tensor for name, tensor in state.items()}


@pytest.mark.parametrize("image_size", [None, *OTHERS, (100, 230)], ids=str)
@pytest.mark.parametrize("name", TORCHVISION)
def test_a_published_torchvision_model_is_read_as_it_is(name: str, image_size: Size | None, tmp_path: Path) -> None:
    model = torchvision_model(name)
    size = image_size or (TORCHVISION[name], TORCHVISION[name])
    state = shapes(model)
    if "v2" in name:
        state = with_coordinates(state, 8)
    spec = read(state, tmp_path, size).spec
    rows, columns = size[0] // 4, size[1] // 4
    blocks = []
    for stage in model.features[1::2]:
        for block in stage:
            window, shift = pair(block.attn.window_size), pair(block.attn.shift_size)
            # As `shifted_window_attention` has it: no shift on an axis that one window covers.
            covered = [-(-side // step) * step for side, step in zip((rows, columns), window, strict=True)]
            kept = tuple(0 if step >= whole else by for step, whole, by in zip(window, covered, shift, strict=True))
            blocks.append(Block((rows, columns), window, pair(kept), window if "v2" in name else None))
        rows, columns = -(-rows // 2), -(-columns // 2)
    assert inferred(spec) == blocks


# Image, window and pretrained windows of the configurations on the hub, and the defaults.
HUGGINGFACE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Swin", {}),
    ("Swin", {"image_size": 384, "window_size": 12}),
    ("Swinv2", {}),
    ("Swinv2", {"image_size": 256, "window_size": 8, "pretrained_window_sizes": [0, 0, 0, 0]}),
    ("Swinv2", {"image_size": 256, "window_size": 16, "pretrained_window_sizes": [0, 0, 0, 0]}),
    ("Swinv2", {"image_size": 192, "window_size": 12, "pretrained_window_sizes": [0, 0, 0, 0]}),
    ("Swinv2", {"image_size": 256, "window_size": 16, "pretrained_window_sizes": [12, 12, 12, 6]}),
    ("Swinv2", {"image_size": 384, "window_size": 24, "pretrained_window_sizes": [12, 12, 12, 6]}),
)


@pytest.mark.parametrize(("kind", "arguments"), HUGGINGFACE, ids=str)
def test_a_published_configuration_of_transformers_is_read_as_it_is(
    kind: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    config = getattr(transformers, f"{kind}Config")(**arguments)
    with torch.device("meta"):
        model = getattr(transformers, f"{kind}ForImageClassification")(config)
    config.save_pretrained(tmp_path)
    blocks = []
    for layer in getattr(model, kind.lower()).encoder.layers:
        for block in layer.blocks:
            feature_map, pretrained = pair(block.input_resolution), None
            if kind == "Swin":
                block.set_shift_and_window_size(feature_map)
            else:
                stated = pair(block.attention.self.pretrained_window_size)
                pretrained = stated if stated[0] else pair(block.window_size)
            blocks.append(Block(feature_map, pair(block.window_size), pair(block.shift_size), pretrained))
    assert inferred(read(shapes(model), tmp_path).spec) == blocks
