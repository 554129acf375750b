"""A checkpoint with another attention is read by its dialect: the attention's own keys reach it as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from swin_deploy.checkpoint.load import load_checkpoint
from tests.model.variants.cases import model
from tests.random_swin import random_images, timm_state

NAMES = ["channel-gate", "linformer", "performer", "routing", "tests.model.variants.own:Mixer"]


def saved(paper: Any, folder: Path) -> Path:
    """The model as timm would have named its weights, and a side-car for what no tensor tells."""
    path = folder / "model.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in timm_state(paper).items()}, path)
    heads = [stage.heads for stage in paper.spec.stages]
    arguments = {"img_size": list(paper.spec.image_size), "window_size": 7, "num_heads": heads}
    path.with_suffix(".json").write_text(json.dumps({"arguments": arguments}), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_checkpoint_is_read_with_its_attention(name: str, tmp_path: Path) -> None:
    paper = model(name)
    images = random_images(paper.spec, 2).float()
    wanted = paper(images)
    again = load_checkpoint(saved(paper, tmp_path), attention=name)
    assert again.reading.spec.attention == name
    assert torch.equal(again.reference()(images), wanted)
