"""Constants: the deployment form of a captured network, the same to the bit, or the captured one itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.atomic import file_sha256
from swin_deploy.errors import BadInput
from swin_deploy.model import constant_folding
from swin_deploy.model.capture import capture, open_program, program_module, save_program
from swin_deploy.stages.constants import Constants
from tests.own_networks import SIZE, Biased, made


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("captured") / "captured.pt2"
    save_program(capture(made(Biased), SIZE, 3, 4), ("logits",), path)
    return Artifact("reference", path, Format.CAPTURED, Precision.FP32)


def answer(path: Path) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = program_module(open_program(path)[0])(
            torch.linspace(-2, 2, 2 * 3 * 256).view(2, 3, 16, 16)
        )
    return found


@pytest.fixture(scope="module")
def folded(captured: Artifact) -> tuple[Path, Mapping[str, Any]]:
    out = captured.path.with_name("folded.pt2")
    before = file_sha256(captured.path)
    produced = Constants(4).run(captured, out)
    assert file_sha256(captured.path) == before
    operators = produced.facts["operators"]
    assert produced.notes == (
        f"{operators['captured']} operators became {operators['deployment']}, every bit of the outputs the same",
    )
    return out, produced.facts


def test_the_folded_network_is_the_captured_one_with_fewer_operators(captured: Artifact, folded) -> None:
    out, facts = folded
    assert open_program(out)[1] == ("logits",)
    assert torch.equal(answer(out), answer(captured.path))
    assert facts["operators"]["deployment"] < facts["operators"]["captured"]
    assert (facts["constants"], facts["constants_mib"]) == (1, round(20 / 2**20, 3))  # a row of five
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_the_graph_of_it_has_the_constants_and_not_what_computed_them(captured: Artifact, folded) -> None:
    kinds = [
        {str(node.target) for node in open_program(path)[0].graph.nodes if node.op == "call_function"}
        for path in (captured.path, folded[0])
    ]
    computing = {"aten.sigmoid.default", "aten.exp.default", "aten.log.default", "aten.zero_.default"}
    assert computing <= kinds[0]
    assert not computing & kinds[1]
    assert "aten.layer_norm.default" in kinds[1]


def test_where_folding_changes_a_bit_nothing_is_folded_and_that_is_said(
    captured: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = constant_folding.fold_constants

    def spoiled(program, largest_batch):
        folding = right(program, largest_batch)
        constant = next(value for name, value in folding.program.state_dict.items() if name.startswith("folded"))
        constant.mul_(1 + 2**-20)
        return folding

    monkeypatch.setattr(constant_folding, "fold_constants", spoiled)
    produced = Constants(4).run(captured, tmp_path / "out.pt2")
    assert produced.notes == ("nothing was folded: the folded graph gave other bits than the captured one",)
    assert (produced.facts["constants"], produced.facts["constants_mib"]) == (0, 0)
    assert produced.facts["operators"]["deployment"] == produced.facts["operators"]["captured"]
    assert torch.equal(answer(tmp_path / "out.pt2"), answer(captured.path))


def test_a_damaged_parent_is_bad_input_and_leaves_nothing(captured: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "damaged.pt2"
    path.write_bytes(captured.path.read_bytes()[:-300])
    with pytest.raises(BadInput, match=r"damaged\.pt2 cannot be read"):
        Constants(4).run(Artifact("a", path, Format.CAPTURED, Precision.FP32), tmp_path / "out.pt2")
    assert not (tmp_path / "out.pt2").exists()
