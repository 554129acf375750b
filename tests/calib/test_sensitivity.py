"""Ranking blocks, kinds and linears by the damage of each alone."""

from __future__ import annotations

import json
import math

import pytest

from calib.errors import BadData
from calib.plan_judge import Choice, TaskDamage
from calib.search_log import RememberingJudge
from calib.sensitivity import block_of, kind_of, rank

LAYERS = ("attn.qkv", "attn.proj", "mlp.0", "mlp.2")
NAMES = [f"blocks.{block}.{layer}" for block in range(3) for layer in LAYERS]
NOISE = {name: (1 + number) * 1e-5 for number, name in enumerate(NAMES)} | {"blocks.1.attn.proj": 1e-2}


class Additive:
    """Independent errors: each linear adds its noise, and a tenth of a point for each thousandth of it."""

    def __init__(self, noise: dict[str, float], labels: bool = True) -> None:
        self.noise, self.labels = noise, labels
        self.asked: list[Choice] = []

    def sqnr_db(self, choice: Choice) -> float:
        self.asked.append(choice)
        total = sum(self.noise[module] for module in choice)
        return -10 * math.log10(total) if total else 999.0

    def task(self, choice: Choice) -> TaskDamage | None:
        drop = 100 * sum(self.noise[module] for module in choice)
        return TaskDamage(drop, drop + 0.1) if self.labels else None


def every(names: list[str]) -> dict[str, str]:
    return dict.fromkeys(names, "int8")


def test_the_worst_linear_block_and_kind_come_first() -> None:
    found = rank(every(NAMES), RememberingJudge(Additive(NOISE)))
    assert found.linears[0].group == "blocks.1.attn.proj"
    assert [damage.group for damage in found.blocks] == ["blocks.1", "blocks.2", "blocks.0"]
    assert [damage.group for damage in found.kinds] == ["proj", "fc2", "fc1", "qkv"]
    assert [damage.figures.noise for damage in found.linears] == pytest.approx(sorted(NOISE.values(), reverse=True))


def test_one_group_is_quantized_at_a_time_with_the_variant_given() -> None:
    judge = Additive(NOISE)
    rank(dict.fromkeys(NAMES, "clipped"), RememberingJudge(judge))
    assert {name: "clipped" for name in NAMES if name.startswith("blocks.2")} in judge.asked
    assert {name: "clipped" for name in NAMES if name.endswith("qkv")} in judge.asked
    assert [{name: "clipped"} for name in NAMES] == judge.asked[-len(NAMES) :]
    assert len(judge.asked) == 1 + 3 + 4 + 12


def test_additive_noise_sums_to_that_of_all_together_and_interacting_noise_does_not() -> None:
    class Cancelling(Additive):
        def sqnr_db(self, choice: Choice) -> float:
            return super().sqnr_db(choice) + (3.0 if len(choice) == len(NAMES) else 0.0)

    for judge, factor in ((Additive(NOISE), 1.0), (Cancelling(NOISE), 10**0.3)):
        record = rank(every(NAMES), RememberingJudge(judge)).to_json()
        assert record["sum_of_linears_noise"] == pytest.approx(factor * record["together"]["noise"])


def test_the_record_is_json_with_figures_of_the_task_or_without() -> None:
    record = rank(every(NAMES), RememberingJudge(Additive(NOISE))).to_json()
    worst = json.loads(json.dumps(record, allow_nan=False))["linears"][0]
    assert worst["drop"] == pytest.approx(1.0) and worst["drop_upper"] == pytest.approx(1.1)
    assert (worst["noise"], worst["sqnr_db"], worst["linears"]) == (pytest.approx(0.01), pytest.approx(20), 1)
    assert rank(every(NAMES), RememberingJudge(Additive(NOISE, False))).to_json()["linears"][0]["drop"] is None


def test_linears_that_do_no_damage_come_last_in_the_graphs_order() -> None:
    noise = dict.fromkeys(NAMES, 0.0) | {NAMES[5]: 1e-4}
    found = rank(every(NAMES), RememberingJudge(Additive(noise)))
    assert [damage.group for damage in found.linears] == [NAMES[5], *NAMES[:5], *NAMES[6:]]
    assert found.linears[-1].figures.noise == 0


@pytest.mark.parametrize(
    ("module", "block", "kind"),
    [
        ("blocks.3.attn.qkv", "blocks.3", "qkv"),
        ("blocks.3.attn.window.proj", "blocks.3", "proj"),
        ("blocks.13.mlp.0", "blocks.13", "fc1"),
        ("blocks.13.mlp.2", "blocks.13", "fc2"),
        ("layers.2.blocks.1.mlp.fc1", "layers.2.blocks.1", "fc1"),
        ("encoder.3.ff.3", None, "ff.3"),
        ("blocks.0.attn.qkv_2", "blocks.0", "qkv_2"),
        ("blocks.0.mlp.0_2", "blocks.0", "mlp.0_2"),
        ("myblocks.0.gate", None, "gate"),
        ("head", None, "head"),
        ("3", None, "3"),
        ("", None, ""),
    ],
)
def test_a_linear_belongs_to_its_block_and_kind(module: str, block: str | None, kind: str) -> None:
    assert (block_of(module), kind_of(module)) == (block, kind)


def test_no_linear_is_refused() -> None:
    with pytest.raises(BadData):
        rank({}, RememberingJudge(Additive({})))
