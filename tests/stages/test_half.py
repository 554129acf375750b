"""Half: weights and constants rounded once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.model.forms import open_deployment, save_deployment
from swin_deploy.stages.half import Half
from tests.chain import Chain, decibels, random_images

TYPES = {"half.fp16": torch.float16, "half.bf16": torch.bfloat16}


def exploded(chain: Chain, folder: Path, value: float) -> Artifact:
    model = chain.deployment()
    model.state_dict()["blocks.1.mlp.2.bias"][3] = value
    path = folder / "exploded.safetensors"
    save_deployment(model, path)
    return Artifact("exploded", path, Format.DEPLOYMENT, Precision.FP32)


@pytest.mark.parametrize("name", TYPES)
def test_every_number_is_pytorchs_own_rounding(chain: Chain, name: str) -> None:
    wanted = chain.deployment().state_dict()
    got = chain.deployment(name).state_dict()
    assert got.keys() == wanted.keys()
    for key, tensor in got.items():
        assert tensor.dtype == TYPES[name]
        assert torch.equal(tensor, wanted[key].to(TYPES[name])), key


@pytest.mark.parametrize(("name", "least"), [("half.fp16", 55.0), ("half.bf16", 35.0)])
def test_the_answers_are_fp32_and_close(chain: Chain, name: str, least: float) -> None:
    images = random_images(7)
    got = chain.logits(images, name)
    assert got.dtype == "float32"
    assert least <= decibels(got, chain.logits(images)) < 100  # the control: rounding is seen


@pytest.mark.parametrize("value", [65520.0, -1e6])
def test_a_weight_beyond_fp16_is_refused_by_name(v1: Chain, tmp_path: Path, value: float) -> None:
    out = tmp_path / "out.safetensors"
    with pytest.raises(BadInput, match=r"blocks\.1\.mlp\.2\.bias.*--bf16"):
        Half(Precision.FP16).run(exploded(v1, tmp_path, value), out)
    assert not out.exists()


def test_bf16_takes_that_weight(v1: Chain, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    Half(Precision.BF16).run(exploded(v1, tmp_path, 65520.0), out)
    assert float(open_deployment(out).state_dict()["blocks.1.mlp.2.bias"][3]) == 65536.0


def test_an_error_in_bf16_does_not_advise_bf16(v1: Chain, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"beyond bf16's range") as caught:
        Half(Precision.BF16).run(exploded(v1, tmp_path, 3.4e38), tmp_path / "out.safetensors")
    assert "--bf16" not in str(caught.value)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8])
def test_other_precisions_are_refused_on_construction(precision: Precision) -> None:
    with pytest.raises(UsageFault, match=precision.value):
        Half(precision)
