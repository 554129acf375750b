"""After a search the report ranks what damages most, and says how the search ended."""

from __future__ import annotations

from calib.cost import LinearCost, RooflineCost
from calib.plan_judge import Choice, TaskDamage
from calib.plan_search import Limit, search_plan
from calib.search_log import RememberingJudge
from calib.sensitivity import rank
from swin_deploy.quantization.find_plan import Searched
from swin_deploy.report.sensitivity_section import sensitivity_section

NAMES = ("blocks.0.attn.qkv", "blocks.0.mlp.2", "blocks.1.mlp.2")


class Judge:
    """Every linear costs a tenth of a point and three decibels."""

    def sqnr_db(self, choice: Choice) -> float:
        return 50.0 - 3 * len(choice)

    def task(self, choice: Choice) -> TaskDamage:
        return TaskDamage(0.1 * len(choice), 0.1 * len(choice) + 0.05)


def section(max_drop: float) -> list[str]:
    judge = RememberingJudge(Judge())
    ranked = rank(dict.fromkeys(NAMES, "fitted"), judge)
    cost = RooflineCost({name: LinearCost.of_shape(49, 32, 32) for name in NAMES})
    found = search_plan(dict.fromkeys(NAMES, ("fitted",)), cost, judge, Limit(max_drop))
    return list(sensitivity_section(Searched(found, (), found.choice, ranked, judge.measured, 0).to_json()))


def test_the_parts_stand_with_their_damage() -> None:
    found = section(1.0)
    assert "| all | 3 | 41.0 | +0.30 (< +0.35) |" in found
    assert "| blocks.0 | 2 | 44.0 | +0.20 (< +0.25) |" in found
    assert any("saves 100.0 %" in line for line in found)


def test_what_was_left_out_shows_in_what_is_saved() -> None:
    assert any("saves 66.7 %" in line for line in section(0.26))
