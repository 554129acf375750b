"""The search, against judges whose best plan is known."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path

import pytest

from calib.errors import BadData
from calib.plan_judge import Choice, Figures, TaskDamage
from calib.plan_search import FoundPlan, Limit, Move, Stop, search_plan
from calib.search_log import RememberingJudge

Noise = Callable[[Choice], float]


class Saves(dict[str, float]):
    """A cost that is written down."""

    def saving(self, module: str) -> float:
        return self[module]


class Judge:
    """Noise as a function says; the drop is its share in percent, and the bound a fixed distance above."""

    def __init__(self, noise: Noise, labels: bool = True, width: float = 0.0) -> None:
        self.noise, self.labels, self.width = noise, labels, width
        self.asked: list[Choice] = []

    def sqnr_db(self, choice: Choice) -> float:
        self.asked.append(dict(choice))
        noise = self.noise(choice)
        return -10 * math.log10(noise) if noise else 999.0

    def task(self, choice: Choice) -> TaskDamage | None:
        drop = 100 * self.noise(choice)
        return TaskDamage(drop, drop + self.width) if self.labels else None


def additive(noise: Mapping[str, float], factors: Mapping[str, float] | None = None) -> Noise:
    return lambda choice: sum(noise[module] * (factors or {}).get(variant, 1.0) for module, variant in choice.items())


def alike(names: object) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(names, ("int8",))


def search(noise: Noise, savings: Mapping[str, float], limit: Limit, **options: object) -> FoundPlan:
    return search_plan(alike(savings), Saves(savings), RememberingJudge(Judge(noise)), limit, **options)


def best_saving(noise: Noise, savings: Mapping[str, float], max_drop: float) -> float:
    plans = (
        dict.fromkeys(chosen, "int8") for count in range(len(savings) + 1) for chosen in combinations(savings, count)
    )
    return max(sum(savings[module] for module in plan) for plan in plans if 100 * noise(plan) <= max_drop)


def test_everything_acceptable_is_everything_quantized_after_one_look() -> None:
    found = search(additive({"a": 0.001, "b": 0.002}), {"a": 1, "b": 2}, Limit(0.5))
    assert (dict(found.choice), found.stop, found.evaluations) == ({"a": "int8", "b": "int8"}, Stop.EVERYTHING, 1)
    assert found.saving == found.possible == 3


def test_the_one_linear_that_spoils_it_is_left_out() -> None:
    noise = {"a": 0.0001, "b": 0.02, "c": 0.0002, "d": 0.0001}
    found = search(additive(noise), dict.fromkeys(noise, 1.0), Limit(0.3))
    assert tuple(found.choice) == ("a", "c", "d") and found.stop is Stop.SEARCHED
    assert found.figures.noise == pytest.approx(0.0004) and found.figures.task.upper == pytest.approx(0.04)


def test_noise_counts_by_what_leaving_it_out_costs() -> None:
    noise, savings = {"large": 0.004, "small": 0.003, "c": 0.0001}, {"large": 10.0, "small": 1.0, "c": 1.0}
    assert tuple(search(additive(noise), savings, Limit(0.45)).choice) == ("large", "c")


def test_what_was_left_out_needlessly_is_put_back() -> None:
    # By noise for saving x goes first, then y; without y there is room for x.
    noise, savings = {"x": 0.002, "y": 0.009, "z": 0.001}, {"x": 1.0, "y": 5.0, "z": 5.0}
    found = search(additive(noise), savings, Limit(0.4))
    assert tuple(found.choice) == ("x", "z")
    assert [step.changes for step in found.steps if step.move is Move.PUT_BACK and step.kept] == [("+x",)]


def test_an_exchange_finds_what_leaving_out_and_putting_back_cannot() -> None:
    noise, savings = {"a": 0.005, "b": 0.004, "c": 0.004}, {"a": 4.0, "b": 4.4, "c": 4.4}
    # One of the three fits. Greedy leaves a out, then b, and c stays; nothing else fits beside it.
    assert search(additive(noise), savings, Limit(0.5)).saving == 4.4
    savings = {"a": 5.5, "b": 4.8, "c": 3.0}
    found = search(additive(noise | {"a": 0.006}), savings, Limit(0.6))
    assert tuple(found.choice) == ("a",)
    assert any(step.move is Move.EXCHANGE and step.kept for step in found.steps)
    assert tuple(search(additive(noise | {"a": 0.006}), savings, Limit(0.6), patience=0).choice) == ("b",)


@pytest.mark.parametrize("seed", range(40))
def test_small_additive_networks_come_out_as_by_brute_force(seed: int) -> None:
    draw = random.Random(seed)
    names = [f"m{number}" for number in range(8)]
    noise = {name: draw.choice([1, 2, 3, 5, 8, 13]) * 1e-4 for name in names}
    savings = {name: float(draw.choice([1, 1, 2, 4])) for name in names}
    max_drop = draw.uniform(0.05, 0.35)
    found = search(additive(noise), savings, Limit(max_drop), budget=10_000, patience=10_000)
    assert found.saving == best_saving(additive(noise), savings, max_drop)
    assert found.figures.task.upper <= max_drop


def test_linears_that_spoil_each_other_are_not_kept_together() -> None:
    def noise(choice: Choice) -> float:
        return 0.0002 * len(choice) + (0.05 if {"a", "b"} <= set(choice) else 0.0)

    savings = {"a": 2.0, "b": 1.5, "c": 1.0, "d": 1.0}
    found = search(noise, savings, Limit(0.2))
    assert set(found.choice) == {"a", "c", "d"} and found.saving == best_saving(noise, savings, 0.2)


def test_linears_whose_errors_cancel_are_kept_together() -> None:
    def noise(choice: Choice) -> float:
        pair = len({"a", "b"} & set(choice))
        return {0: 0.0001, 1: 0.02, 2: 0.0005}[pair] + (0.03 if "c" in choice else 0.0)

    savings = {"a": 1.0, "b": 1.0, "c": 1.0}
    found = search(noise, savings, Limit(0.2))
    assert set(found.choice) == {"a", "b"} and found.saving == best_saving(noise, savings, 0.2)


def test_nothing_acceptable_is_all_float_and_said_so() -> None:
    found = search(additive({"a": 0.1, "b": 0.2}), {"a": 1, "b": 1}, Limit(0.5))
    assert not found.choice and found.saving == 0 and found.stop is Stop.NOTHING
    assert "no plan is acceptable" in found.reason and "all stay in float" in found.reason
    assert found.figures == Figures(999.0, TaskDamage(0.0, 0.0))


def test_a_bound_that_not_even_float_can_meet_ends_the_search_at_once() -> None:
    names = alike("abcdef")
    judge = Judge(additive(dict.fromkeys(names, 0.0001)), width=0.4)
    found = search_plan(names, Saves(dict.fromkeys(names, 1.0)), RememberingJudge(judge), Limit(0.3))
    assert found.stop is Stop.UNPROVABLE and not found.choice and found.figures is None
    assert len(judge.asked) == 2 and "more images" in found.reason


def test_the_bound_is_judged_and_not_the_estimate() -> None:
    names, noise = alike("ab"), {"a": 0.001, "b": 0.002}
    cost, judge = Saves(a=1, b=1), RememberingJudge(Judge(additive(noise), width=0.1))
    assert set(search_plan(names, cost, judge, Limit(0.41)).choice) == {"a", "b"}
    assert set(search_plan(names, cost, judge, Limit(0.39)).choice) == {"a"}  # the estimate of both is 0.3


def test_without_labels_the_least_ratio_decides() -> None:
    names, noise = alike("abc"), {"a": 0.0001, "b": 0.01, "c": 0.0001}
    cost, judge = Saves(a=1, b=1, c=1), RememberingJudge(Judge(additive(noise), labels=False))
    found = search_plan(names, cost, judge, Limit(0.3, floor_db=35))
    assert set(found.choice) == {"a", "c"} and found.figures.task is None and found.figures.sqnr_db >= 35
    with pytest.raises(BadData, match="without labels"):
        search_plan(names, cost, judge, Limit(0.3))


def test_with_labels_a_least_ratio_holds_beside_the_drop() -> None:
    noise, savings = {"a": 0.0001, "b": 0.001, "c": 0.0001}, {"a": 1.0, "b": 1.0, "c": 1.0}
    assert len(search(additive(noise), savings, Limit(0.3)).choice) == 3
    assert len(search(additive(noise), savings, Limit(0.3, floor_db=35)).choice) == 2
    assert len(search(additive(noise), savings, Limit(0.01, floor_db=35)).choice) == 1


@pytest.mark.parametrize("limit", [(None, None), (math.nan, None), (None, math.inf)])
def test_a_limit_that_says_nothing_is_refused(limit: tuple[float | None, float | None]) -> None:
    with pytest.raises(BadData, match="limit"):
        Limit(*limit)


def test_a_linear_that_is_slower_in_int8_stays_in_float() -> None:
    found = search(additive({"a": 0.0001, "b": 0.0001}), {"a": 1.0, "b": -0.1}, Limit(1))
    assert tuple(found.choice) == ("a",) and found.possible == 1.0
    nothing = search(additive({"a": 0.0001}), {"a": 0.0}, Limit(1))
    assert nothing.stop is Stop.NOTHING_PAYS and not nothing.choice and nothing.evaluations == 0


FACTORS = {"plain": 1.0, "clipped": 0.5, "worse": 2.0}
VARIANTS = dict.fromkeys("abcd", ("plain", "clipped", "worse"))


def test_variants_are_kept_where_they_raise_the_ratio_at_the_same_saving() -> None:
    noise = dict.fromkeys("abcd", 0.0001)
    own = {"a": 0.5, "b": 1.5, "c": 0.5, "d": 0.999}  # what clipping makes of each

    def measured(choice: Choice) -> float:
        return sum(noise[x] * {"plain": 1.0, "clipped": own[x], "worse": 2.0}[v] for x, v in choice.items())

    judge = RememberingJudge(Judge(measured))
    found = search_plan(VARIANTS, Saves(dict.fromkeys("abcd", 1.0)), judge, Limit(1))
    # d gains too, but less than counts.
    assert dict(found.choice) == {"a": "clipped", "b": "plain", "c": "clipped", "d": "plain"}
    assert found.saving == found.possible == 4


def test_a_variant_that_raises_the_ratio_but_breaks_the_task_is_not_kept() -> None:
    class Sharp(Judge):
        def task(self, choice: Choice) -> TaskDamage:
            return TaskDamage(5.0, 5.0) if "clipped" in choice.values() else TaskDamage(0.0, 0.0)

    judge = RememberingJudge(Sharp(additive(dict.fromkeys("abcd", 0.0001), FACTORS)))
    found = search_plan(VARIANTS, Saves(dict.fromkeys("abcd", 1.0)), judge, Limit(1))
    assert set(found.choice.values()) == {"plain"}


def test_a_quieter_variant_makes_room_for_what_was_left_out() -> None:
    noise = {"a": 0.002, "b": 0.0025}
    judge = RememberingJudge(Judge(additive(noise, FACTORS)))
    cost = Saves(a=1.0, b=1.0)
    assert len(search_plan(alike("ab"), cost, judge, Limit(0.4)).choice) == 1
    found = search_plan({name: VARIANTS[name] for name in "ab"}, cost, judge, Limit(0.4))
    assert dict(found.choice) == {"a": "clipped", "b": "clipped"} and found.stop is Stop.EVERYTHING


def hard(seed: int = 3) -> tuple[Judge, Saves, dict[str, tuple[str, ...]]]:
    draw = random.Random(seed)
    names = [f"m{number:02}" for number in range(14)]
    noise = {name: draw.uniform(1, 20) * 1e-4 for name in names}
    return (
        Judge(additive(noise, FACTORS), width=0.05),
        Saves({name: draw.uniform(1, 4) for name in names}),
        dict.fromkeys(names, ("plain", "clipped", "worse")),
    )


def test_every_budget_is_kept_and_gives_an_acceptable_plan_or_float() -> None:
    whole = search_plan(hard()[2], hard()[1], RememberingJudge(hard()[0]), Limit(0.4))
    assert whole.stop is not Stop.BUDGET
    savings = []
    for budget in range(1, whole.evaluations + 1):
        judge, cost, variants = hard()
        found = search_plan(variants, cost, RememberingJudge(judge), Limit(0.4), budget=budget)
        assert found.evaluations == len(judge.asked) <= budget
        if found.choice:
            assert found.figures.task.upper <= 0.4
        elif found.stop is Stop.BUDGET:
            assert "before an acceptable plan was found" in found.reason
        savings.append(found.saving)
    assert savings[0] == 0 and savings[-1] > 0
    assert found.stop is Stop.BUDGET or found == whole


@pytest.mark.parametrize("after", [0, 1, 7, 20, 40])
def test_an_interrupted_search_resumes_to_the_same_result_without_measuring_twice(tmp_path: Path, after: int) -> None:
    judge, cost, variants = hard()
    whole = search_plan(variants, cost, RememberingJudge(judge), Limit(0.4))
    assert whole.evaluations > 40

    class Interrupted(Judge):
        def sqnr_db(self, choice: Choice) -> float:
            if len(self.asked) == after:
                raise KeyboardInterrupt
            return super().sqnr_db(choice)

    log = tmp_path / "search.jsonl"
    with pytest.raises(KeyboardInterrupt):
        search_plan(variants, cost, RememberingJudge(Interrupted(judge.noise, width=0.05), log, "key"), Limit(0.4))
    again = Judge(judge.noise, width=0.05)
    assert search_plan(variants, cost, RememberingJudge(again, log, "key"), Limit(0.4)) == whole
    assert len(again.asked) == whole.evaluations - after


def test_the_steps_tell_the_whole_search() -> None:
    judge, cost, variants = hard()
    found = search_plan(variants, cost, RememberingJudge(judge), Limit(0.4))
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["choice"] == dict(found.choice) and record["evaluations"] == found.evaluations
    assert [step["move"] for step in record["steps"][:3]] == ["all", "float", "alone"]
    last = [step for step in found.steps if step.kept][-1]
    assert (last.figures, last.saving) == (found.figures, found.saving)
    assert all(step.acceptable == (step.figures.task.upper <= 0.4) for step in found.steps)
    # Applied one after the other, the changes that were kept lead from float to the plan.
    plan: dict[str, str] = {}
    left = [step for step in found.steps if step.move is Move.LEAVE_OUT]
    everything = {module: names[0] for module, names in variants.items()}
    for step in [*left, *(step for step in found.steps if step.kept and step.move not in (Move.LEAVE_OUT, Move.FLOAT))]:
        plan = plan or everything
        for change in step.changes:
            if change[0] == "-":
                del plan[change[1:]]
            elif change[0] == "+":
                plan[change[1:]] = "plain"
            else:
                plan[change.split("=")[0]] = change.split("=")[1]
    assert plan == dict(found.choice)


@pytest.mark.parametrize("variants", [{}, {"a": ()}])
def test_a_search_over_nothing_is_refused(variants: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(BadData):
        search_plan(variants, Saves(a=1), RememberingJudge(Judge(additive({"a": 1}))), Limit(1))


def test_no_budget_is_refused() -> None:
    with pytest.raises(BadData, match="budget"):
        search(additive({"a": 0.1}), {"a": 1}, Limit(1), budget=0)
