"""Plans are judged by running what they would build, against the float network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from swin_deploy.backends.onnxruntime import outputs_of
from swin_deploy.device.distances import distance
from swin_deploy.parity.paired_drop import paired_drop
from swin_deploy.quantization import graph_judge
from swin_deploy.quantization.graph_judge import QUANTIZED, GraphJudge
from swin_deploy.quantization.solve import Settings, Solved
from tests.chain import Chain
from tests.solved_chain import labelled, solved_of


@pytest.fixture(scope="module")
def solved(v1: Chain) -> Solved:
    return solved_of(v1, Settings(tools=()))


def test_the_candidates_are_the_linears_in_graph_order(v1: Chain, solved: Solved) -> None:
    judge = GraphJudge(solved, labelled(v1, 8))
    parts = ("attn.qkv", "attn.proj", "mlp.0", "mlp.2")
    assert judge.candidates == tuple(f"blocks.{block}.{part}" for block in range(4) for part in parts)


def test_the_float_network_is_exact_and_loses_nothing(v1: Chain, solved: Solved) -> None:
    judge = GraphJudge(solved, labelled(v1, 8))
    assert judge.sqnr_db({}) == 999
    damage = judge.task({})
    assert damage is not None and damage.drop == 0


def test_figures_are_those_of_the_graph_that_would_be_built(v1: Chain, solved: Solved) -> None:
    images = labelled(v1, 24)
    judge = GraphJudge(solved, images, batch=7)
    choice = {"blocks.0.attn.qkv": QUANTIZED, "blocks.3.mlp.2": QUANTIZED}
    tensors = {group.name: tensor for tensor, group in solved.groups.items()}
    built = solved.restricted([tensors[name] for name in choice]).quantized()
    (batch,) = images.batches(24)
    got, wanted = (next(outputs_of(graph, [batch]))["logits"] for graph in (built, solved.graph))
    assert judge.sqnr_db(choice) == pytest.approx(distance(got, wanted, classes=True).sqnr_db, abs=0.2)
    assert images.labels is not None
    drop, damage = paired_drop(got, wanted, images.labels), judge.task(choice)
    assert damage is not None
    assert (damage.drop, damage.upper) == (drop.drop, drop.upper)


def test_more_in_codes_is_more_noise(v1: Chain, solved: Solved) -> None:
    judge = GraphJudge(solved, labelled(v1, 8))
    one = judge.sqnr_db({"blocks.1.mlp.0": QUANTIZED})
    every = judge.sqnr_db(dict.fromkeys(judge.candidates, QUANTIZED))
    assert every < one < 999


def test_without_labels_there_is_a_ratio_and_no_damage(v1: Chain, solved: Solved) -> None:
    images = labelled(v1, 8)
    bare = replace(images, images=replace(images.images, labels=None))
    judge = GraphJudge(solved, bare)
    assert judge.task({"blocks.1.mlp.0": QUANTIZED}) is None
    assert judge.sqnr_db({"blocks.1.mlp.0": QUANTIZED}) < 999


def test_one_run_answers_both_questions(v1: Chain, solved: Solved, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = GraphJudge(solved, labelled(v1, 8))
    runs: list[int] = []
    whole = GraphJudge._run

    def counted(self: GraphJudge, choice: object) -> object:
        runs.append(1)
        return whole(self, choice)  # type: ignore[arg-type]

    monkeypatch.setattr(graph_judge.GraphJudge, "_run", counted)
    choice = {"blocks.1.mlp.0": QUANTIZED}
    judge.sqnr_db(choice)
    judge.task(choice)
    assert len(runs) == 1
    judge.sqnr_db({"blocks.1.mlp.2": QUANTIZED})
    assert len(runs) == 2


def test_labels_that_the_plan_gets_wrong_are_counted(v1: Chain, solved: Solved) -> None:
    """Of a network with steps a hundred times too large nothing is left but the bias of its head."""
    problems = {tensor: replace(problem, step=100 * problem.step) for tensor, problem in solved.problems.items()}
    spoiled = replace(solved, problems=problems)
    judge = GraphJudge(spoiled, labelled(v1, 40))
    damage = judge.task(dict.fromkeys(judge.candidates, QUANTIZED))
    sound = GraphJudge(solved, labelled(v1, 40)).task(dict.fromkeys(judge.candidates, QUANTIZED))
    assert damage is not None and sound is not None
    assert np.isfinite(damage.upper)
    assert damage.drop > 1 > abs(sound.drop)
