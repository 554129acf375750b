"""Fold: the deployment form, with its proof and its counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from swin_deploy.errors import GateFailed
from swin_deploy.model import fold as fold_module
from swin_deploy.model.fold import PROOF_BOUND, FoldProof
from swin_deploy.model.forms import open_deployment
from swin_deploy.model.layout import token_layout
from swin_deploy.stages.fold import Fold
from tests.chain import Chain, decibels, random_images


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_folded_model_is_the_paper_model(chain: Chain, batch: int) -> None:
    images = random_images(batch)
    with torch.inference_mode():
        wanted = chain.reference()(torch.from_numpy(images)).numpy()
    assert decibels(chain.logits(images), wanted) >= 110


def test_the_facts_hold_the_proof_and_what_was_folded(chain: Chain) -> None:
    produced = chain.produced("deployment")
    facts = produced.facts
    assert 0 < facts["proof_float64"] <= PROOF_BOUND
    assert facts["permutations"] == token_layout(chain.spec).permutations == 3
    assert facts["constants"] == 4
    # Stage 0: 1 and, shifted, 4 windows of 2 heads; stage 1: 1 window of 4 heads, twice; 49 x 49 FP32 numbers each.
    assert facts["constants_mib"] == round((2 + 8 + 4 + 4) * 49 * 49 * 4 / 2**20, 3)
    assert facts["operators"]["deployment"] < facts["operators"]["paper"]
    assert produced.notes == (f"{facts['operators']['paper']} operators became {facts['operators']['deployment']}",)


def test_a_fold_whose_proof_fails_writes_nothing(v1: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_module, "prove", lambda model, affine: FoldProof(3e-4, 2))
    with pytest.raises(GateFailed, match=r"3\.0e-04 in float64"):
        Fold().run(v1.artifact("reference"), tmp_path / "out.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_wrong_fold_fails_its_proof(v1: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = fold_module._constant
    monkeypatch.setattr(fold_module, "_constant", lambda bias, mask: right(bias, None).expand(right(bias, mask).shape))
    with pytest.raises(GateFailed, match="differs from the paper form"):
        Fold().run(v1.artifact("reference"), tmp_path / "out.safetensors")
    assert not list(tmp_path.iterdir())


def test_folding_the_affine_part_gives_the_same_function(v1: Chain, tmp_path: Path) -> None:
    out = tmp_path / "affine.safetensors"
    Fold(affine=True).run(v1.artifact("reference"), out)
    model = open_deployment(out)
    assert bool((model.norm.weight == 1).all())
    images = random_images(2)
    with torch.inference_mode():
        got = model(torch.from_numpy(images)).numpy()
    assert decibels(got, v1.logits(images)) >= 110
