"""`--attention package.module:Class`: what is found behind a name, and how each way to get it wrong is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from swin_deploy.errors import BadInput
from swin_deploy.model.deployment import RasterAttention
from swin_deploy.model.fold import fold, prove
from swin_deploy.model.forms import build_deployment, build_reference, open_reference, save_deployment, save_reference
from swin_deploy.model.variants.channel_gate import ChannelGate, ChannelGateV2
from swin_deploy.model.variants.registry import SHIPPED, find_variant
from tests.model.variants.cases import GEOMETRIES, V1_STAGE, V2_STAGE, model
from tests.model.variants.own import Mixer
from tests.random_swin import random_images, random_reference, relative_error, small_spec

OWN = "tests.model.variants.own:"
PADDED = {"image_size": (18, 22), "window": 4}


@pytest.mark.parametrize("rule", ["timm", "microsoft-dense"])
@pytest.mark.parametrize("family", ["v1", "v2"])
@pytest.mark.parametrize("name", ["Mixer", "Doubled"])
@torch.no_grad()
def test_a_class_of_ones_own_is_left_alone_and_the_stream_is_put_into_its_order(
    name: str, family: str, rule: str
) -> None:
    paper = model(OWN + name, family=family, rule=rule, **PADDED)
    assert prove(paper).relative_error <= 1e-10
    folded = fold(paper)
    assert all(isinstance(block.attn, RasterAttention) for block in folded.blocks)
    for batch in (1, 2, 3):
        images = random_images(paper.spec, batch).float()
        assert relative_error(folded(images), paper(images)) <= 1e-5
    given, kept = paper.stages[0].blocks[1].attn.state_dict(), folded.blocks[1].attn.paper.state_dict()
    assert all(torch.equal(tensor, kept[key]) for key, tensor in given.items())


@torch.no_grad()
def test_a_class_that_folds_itself_is_folded() -> None:
    paper = random_reference(small_spec("v1", attention=OWN + "Scaled", **PADDED))
    assert prove(paper).relative_error <= 1e-10
    assert type(fold(paper).blocks[0].attn) is torch.nn.Linear


def test_it_comes_back_from_a_file_by_the_name_in_its_header(tmp_path: Path) -> None:
    paper = model(OWN + "Mixer")
    save_reference(paper, tmp_path / "paper.safetensors")
    assert isinstance(open_reference(tmp_path / "paper.safetensors").stages[0].blocks[0].attn, Mixer)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_name_gives_its_class_and_its_path_does_too(name: str) -> None:
    by_name = find_variant(name)(V1_STAGE, GEOMETRIES["plain"])
    by_path = find_variant(SHIPPED[name]["v1"])(V1_STAGE, GEOMETRIES["plain"])
    assert type(by_name) is type(by_path)


def test_the_gate_is_that_of_the_family() -> None:
    assert type(find_variant("channel-gate")(V1_STAGE, GEOMETRIES["plain"])) is ChannelGate
    assert type(find_variant("channel-gate")(V2_STAGE, GEOMETRIES["plain"])) is ChannelGateV2


@pytest.mark.parametrize("name", ["linformer", "performer", "routing"])
def test_what_has_no_form_in_v2_is_refused_there(name: str) -> None:
    with pytest.raises(BadInput, match=f"--attention {name} in a Swin V2.*Needed: a Swin V1"):
        build_reference(small_spec("v2", attention=name))


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("linear", "--attention linear. Needed: package.module:Class, or one of channel-gate, linformer"),
        ("tests.model.variants.own", "--attention tests.model.variants.own. Needed: package.module:Class"),
        (":Mixer", "--attention :Mixer. Needed"),
        ("tests.model.variants.own:", "own:. Needed"),
        ("no.such.module:Class", "cannot be imported: ModuleNotFoundError: No module named 'no'"),
        (OWN + "Missing", "cannot be imported: AttributeError: .*Missing"),
        (OWN + "mixer", "is no torch.nn.Module class"),
        (OWN + "NotAModule", "is no torch.nn.Module class"),
        ("os:system", "is no torch.nn.Module class"),
        (OWN + "WrongArguments", r"cannot be built: TypeError: .*missing 1 required positional argument"),
    ],
)
def test_a_name_that_leads_nowhere_is_unusable_input(name: str, seen: str) -> None:
    with pytest.raises(BadInput, match=seen) as error:
        build_reference(small_spec("v1", attention=name))
    assert error.value.exit_code == 5


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("import no_such_package\n", "No module named 'no_such_package'"),
        ("class :\n", "SyntaxError"),
        ("1 / 0\n", "zero"),
    ],
)
def test_a_module_that_does_not_run_is_unusable_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, seen: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_broken_attention.py").write_text(code, encoding="utf-8")
    with pytest.raises(BadInput, match=f"my_broken_attention:Mine cannot be imported: .*{seen}"):
        find_variant("my_broken_attention:Mine")


@pytest.mark.parametrize(("name", "found"), [("Pooled", "1x1x1x16"), ("Paired", "tuple")])
@pytest.mark.parametrize("build", [build_reference, build_deployment])
@torch.no_grad()
def test_an_output_of_another_shape_is_told_once_and_clearly(name: str, found: str, build: object) -> None:
    spec = small_spec("v1", attention=OWN + name)
    seen = f"the attention {name} made {found} of a feature map of 1x14x14x16"
    with pytest.raises(BadInput, match=seen) as error:
        build(spec).eval()(random_images(spec, 1).float())
    assert error.value.exit_code == 5


def test_the_proof_and_the_deployment_form_want_the_same_class(tmp_path: Path) -> None:
    folded = fold(model(OWN + "Mixer"))
    save_deployment(folded, tmp_path / "folded.safetensors")
    assert "blocks.0.attn.paper.reach.weight" in folded.state_dict()
