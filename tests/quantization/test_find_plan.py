"""The search on a real graph: within its limit, resumed for nothing, and ended in a clear sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from calib.errors import BadData
from swin_deploy.quantization.find_plan import Search, Searched, find_plan
from swin_deploy.quantization.graph_judge import QUANTIZED, GraphJudge
from swin_deploy.quantization.solve import Settings, Solved
from swin_deploy.stages.quantize import Quantize
from tests.chain import PREPROCESS, Chain
from tests.solved_chain import labelled, macs, solved_of

IMAGES = 24


@pytest.fixture(scope="module")
def solved(v1: Chain) -> Solved:
    """Of the last block alone: four linears to choose among."""
    from swin_deploy.onnx_graph.linears import quantizable

    chosen = [linear for linear in quantizable(v1.model("simplified")) if linear.module.startswith("blocks.3.")]
    return solved_of(v1, Settings(tools=()), chosen)


def search_for(chain: Chain, max_drop: float = 50.0, **options: Any) -> Search:
    return Search(labelled(chain, IMAGES), max_drop, few=8, **options)


def found(chain: Chain, solved: Solved, folder: Path, key: str = "k", **options: Any) -> Searched:
    return find_plan(solved, search_for(chain, **options), macs(solved), folder / "int8.search.jsonl", key)


def test_what_is_found_is_within_the_limit(v1: Chain, solved: Solved, tmp_path: Path) -> None:
    result = found(v1, solved, tmp_path, least_share=1.0)
    assert dict(result.choice) == dict.fromkeys((group.name for group in solved.groups.values()), QUANTIZED)
    damage = GraphJudge(solved, labelled(v1, IMAGES)).task(result.choice)
    assert damage is not None and damage.upper <= 50
    assert result.spent == () and result.measured > 0 and result.resumed == 0
    stored = result.to_json()
    assert stored["choice"] == dict(result.choice)
    assert stored["sensitivity"] and stored["plan"] and stored["measured"] == result.measured


def test_what_the_share_allows_is_spent_on_the_noisiest(v1: Chain, solved: Solved, tmp_path: Path) -> None:
    weights, everything = macs(solved), {group.name: QUANTIZED for group in solved.groups.values()}
    result = found(v1, solved, tmp_path, least_share=0.5)
    assert result.spent and set(result.spent).isdisjoint(result.choice)
    assert sum(weights[name] for name in result.choice) >= 0.5 * sum(weights.values())
    few = GraphJudge(solved, labelled(v1, IMAGES).first(8))
    assert few.sqnr_db(result.choice) > few.sqnr_db(everything)
    assert "most noise went back to float" in result.reason


def test_a_search_that_goes_on_measures_nothing_anew_and_finds_the_same(
    v1: Chain, solved: Solved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = found(v1, solved, tmp_path)
    again = found(v1, solved, tmp_path)
    assert (again.measured, again.resumed) == (0, first.measured)
    assert again.choice == first.choice and again.found == first.found and again.spent == first.spent
    # Under another key nothing of it counts.
    other = found(v1, solved, tmp_path, key="other")
    assert (other.measured, other.resumed) == (first.measured, 0)


def test_a_search_that_was_cut_off_keeps_what_it_had(
    v1: Chain, solved: Solved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, left = GraphJudge._run, [6]

    def cut_off(self: GraphJudge, choice: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return whole(self, choice)

    with monkeypatch.context() as patch:
        patch.setattr(GraphJudge, "_run", cut_off)
        with pytest.raises(KeyboardInterrupt):
            found(v1, solved, tmp_path)
    finished = found(v1, solved, tmp_path)
    assert finished.resumed == 5  # the sixth run was that of the float network
    (tmp_path / "whole").mkdir()
    wanted = found(v1, solved, tmp_path / "whole")
    assert finished.choice == wanted.choice
    assert finished.measured + finished.resumed == wanted.measured


def test_a_limit_that_not_even_float_is_seen_to_meet_leaves_nothing_and_says_why(
    v1: Chain, solved: Solved, tmp_path: Path
) -> None:
    result = found(v1, solved, tmp_path, max_drop=0.0)
    assert result.choice == {} and result.spent == ()
    assert "no plan is acceptable" in result.reason


def test_images_without_labels_cannot_keep_a_drop(v1: Chain, solved: Solved, tmp_path: Path) -> None:
    images = labelled(v1, IMAGES)
    bare = Search(replace(images, images=replace(images.images, labels=None)), 1.0, few=8)
    with pytest.raises(BadData, match="images without labels"):
        find_plan(solved, bare, macs(solved), tmp_path / "a.jsonl", "k")


def test_a_file_that_is_no_log_is_left_alone(v1: Chain, solved: Solved, tmp_path: Path) -> None:
    (tmp_path / "int8.search.jsonl").write_text("mine")
    with pytest.raises(BadData, match="is no log of plans judged"):
        found(v1, solved, tmp_path)
    assert (tmp_path / "int8.search.jsonl").read_text() == "mine"


def test_measured_times_take_the_models_place(v1: Chain, solved: Solved, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"none\.csv"):
        found(v1, solved, tmp_path, timings=str(tmp_path / "none.csv"))


# In the stage


def stage(chain: Chain, search: Search, **options: Any) -> Quantize:
    return Quantize(
        chain.calibration,
        Settings(tools=()),
        exclude=(r"blocks\.[012]\.",),
        search=search,
        preprocess=PREPROCESS,
        **options,
    )


def test_the_stage_builds_what_was_found_and_writes_plan_and_log(v1: Chain, tmp_path: Path) -> None:
    produced = stage(v1, search_for(v1)).run(v1.artifact("simplified"), tmp_path / "out.onnx")
    assert produced.facts["quantized_linears"] == [
        f"blocks.3.{part}" for part in ("attn.qkv", "attn.proj", "mlp.0", "mlp.2")
    ]
    assert produced.facts["search"]["measured"] > 0
    assert produced.notes[0].startswith("search: ")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "out.onnx", "int8.plan", "int8.calibration.npz", "int8.search.jsonl", "int8.search.few.jsonl"
    }  # fmt: skip
    built = (tmp_path / "out.onnx").read_bytes()
    again = stage(v1, search_for(v1)).run(v1.artifact("simplified"), tmp_path / "out.onnx")
    assert again.facts["search"]["measured"] == 0
    assert (tmp_path / "out.onnx").read_bytes() == built
    # The calibration that it left, with the plan, gives the very graph without a search.
    (tmp_path / "reused").mkdir()
    Quantize(
        None,
        Settings(tools=()),
        plan_file=str(tmp_path / "int8.plan"),
        reuse=str(tmp_path / "int8.calibration.npz"),
        preprocess=PREPROCESS,
    ).run(v1.artifact("simplified"), tmp_path / "reused" / "out.onnx")
    assert (tmp_path / "reused" / "out.onnx").read_bytes() == built


def test_a_limit_that_cannot_be_met_leaves_a_graph_that_the_pipeline_refuses(v1: Chain, tmp_path: Path) -> None:
    produced = stage(v1, search_for(v1, 0.0)).run(v1.artifact("simplified"), tmp_path / "out.onnx")
    assert "no int8 plan has its drop within the limit" in produced.facts["refused"]
    assert len(produced.facts["quantized_linears"]) == 4


def test_what_is_built_is_what_was_judged(v1: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the search left out stays in float, its input moved as it was when the plan was judged."""
    from swin_deploy.quantization import find_plan as module

    whole = module.find_plan
    seen: list[Solved] = []

    def without_projection(solved: Solved, *arguments: Any) -> Searched:
        result = whole(solved, *arguments)
        seen.append(solved)
        kept = {name: how for name, how in result.choice.items() if not name.endswith("attn.proj")}
        return replace(result, choice=kept)

    monkeypatch.setattr(module, "find_plan", without_projection)
    searching = replace(stage(v1, search_for(v1)), settings=Settings(tools=("balance",)))
    produced = searching.run(v1.artifact("simplified"), tmp_path / "out.onnx")
    assert "blocks.3.attn.proj" in produced.facts["left_in_float"]
    after = {tensor.name: tensor for tensor in onnx.load(tmp_path / "out.onnx").graph.initializer}
    judged = {tensor.name: tensor for tensor in seen[0].graph.graph.initializer}
    name = next(name for name in after if name.startswith("blocks.3.attn.proj.weight"))
    assert after[name].raw_data == judged[name].raw_data
