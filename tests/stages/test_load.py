"""Load: a checkpoint in a foreign layout becomes the oracle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from swin_deploy.artifact import Artifact
from swin_deploy.errors import BadInput
from swin_deploy.model.forms import open_reference
from swin_deploy.stages.load import Load
from tests.chain import Chain


def alone(chain: Chain, folder: Path) -> Artifact:
    """The checkpoint without its side-car."""
    path = folder / "alone.safetensors"
    path.write_bytes(chain.artifact("source").path.read_bytes())
    return replace(chain.artifact("source"), path=path)


def test_the_weights_arrive_under_canonical_names_unchanged(chain: Chain) -> None:
    loaded = open_reference(chain.artifact("loaded").path)
    wanted = chain.reference()
    assert loaded.spec == wanted.spec == chain.spec
    for name, tensor in wanted.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0, msg=name)


def test_the_facts_name_dialect_architecture_and_evidence(chain: Chain) -> None:
    facts = chain.produced("loaded").facts
    assert facts["dialect"] == "timm"
    assert facts["architecture"].startswith(f"Swin {chain.family.upper()}, image 28, patch 2, dims 16-32")
    wanted = sum(p.numel() for name, p in chain.reference().state_dict().items())
    assert facts["parameters"] == wanted
    assert any("source.json" in sentence for sentence in facts["evidence"])


def test_a_fact_that_no_tensor_holds_is_asked_for(chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--image-size"):
        Load().run(alone(chain, tmp_path), tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_options_state_what_no_tensor_holds(chain: Chain, tmp_path: Path) -> None:
    trained = ((7, 7),) if chain.spec.family == "v2" else None
    stage = Load(image_size=(28, 28), window=(7, 7), pretrained_window=trained)
    stage.run(alone(chain, tmp_path), tmp_path / "out.safetensors")
    assert open_reference(tmp_path / "out.safetensors").spec == chain.spec


def test_an_option_overrides_the_sidecar(v1: Chain, tmp_path: Path) -> None:
    Load(image_size=(56, 56)).run(v1.artifact("source"), tmp_path / "out.safetensors")
    assert open_reference(tmp_path / "out.safetensors").spec.image_size == (56, 56)


def test_a_renamed_key_is_named_in_the_error(v1: Chain, tmp_path: Path) -> None:
    tensors = load_file(v1.artifact("source").path)
    tensors["layers.0.blocks.1.norm1.wieght"] = tensors.pop("layers.0.blocks.1.norm1.weight")
    save_file(tensors, tmp_path / "renamed.safetensors")
    source = replace(v1.artifact("source"), path=tmp_path / "renamed.safetensors")
    with pytest.raises(BadInput, match=r"layers\.0\.blocks\.1\.norm1\.weight"):
        Load(image_size=(28, 28)).run(source, tmp_path / "out.safetensors")
