"""Search the plan with the most INT8 within a limit, and rank what damages most: `calib.plan_search` on real graphs.

Three passes, since a drop takes thousands of images to see and a ratio at the outputs some hundred. Linears are ranked
by the noise that each makes alone, on few images. The plan with the most INT8 is found on all images of the selection.
Then the few linears with the most noise for their arithmetic go back to float, as far as a least share of INT8 allows:
they buy the most accuracy for the least time. What came of that has to be within the limit on all images again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calib.cost import CostModel, LinearCost, RooflineCost, read_timings
from calib.plan_judge import Choice
from calib.plan_search import FoundPlan, Limit, search_plan
from calib.search_log import RememberingJudge
from calib.sensitivity import Sensitivity, rank
from swin_deploy.atomic import disk_faults
from swin_deploy.parity.evaluation import EvaluationSet
from swin_deploy.quantization.graph_judge import QUANTIZED, GraphJudge
from swin_deploy.quantization.solve import Solved

__all__ = ["Search", "Searched", "find_plan"]


@dataclass(frozen=True)
class Search:
    """What to search by.

    Attributes:
        selection: The images that plans are selected on; the run is judged on others.
        max_drop: Percentage points that the upper bound of the drop may reach on them.
        least_share: Of the multiply-accumulates of the linears in the found plan, what stays quantized.
        few: Images of the passes that go by the ratio at the outputs.
        budget: Plans that may be looked at in each pass.
        timings: File of measured times of each linear, see `calib.cost`; without, a model of the cost.
    """

    selection: EvaluationSet
    max_drop: float
    least_share: float = 0.9
    few: int = 128
    budget: int = 400
    timings: str | None = None


@dataclass(frozen=True)
class Searched:
    """What a search came to.

    Attributes:
        found: The plan, with everything that was looked at on all images of the selection.
        spent: Linears that went back to float for their noise, in that order.
        choice: What is to be built.
        sensitivity: Blocks, kinds and linears by the damage that each does alone.
        measured: Plans that were run now.
        resumed: Plans that the log of an interrupted search held.
    """

    found: FoundPlan
    spent: tuple[str, ...]
    choice: Choice
    sensitivity: Sensitivity
    measured: int
    resumed: int

    @property
    def reason(self) -> str:
        """A sentence on how it ended."""
        if not self.spent:
            return self.found.reason
        count = f"{len(self.spent)} linear" + ("s" if len(self.spent) > 1 else "")
        return f"{self.found.reason}; {count} with the most noise went back to float"

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {
            "plan": self.found.to_json(),
            "spent": list(self.spent),
            "choice": dict(self.choice),
            "reason": self.reason,
            "sensitivity": self.sensitivity.to_json(),
            "measured": self.measured,
            "resumed": self.resumed,
        }


def find_plan(solved: Solved, search: Search, macs: Mapping[str, int], log: Path, key: str) -> Searched:
    """Rank and search.

    Args:
        solved: With all linears that may be quantized.
        search: What by.
        macs: Multiply-accumulates of each linear for one image.
        log: File of the measurements, gone on with where `key` is the same.
        key: Stands for graph, data and settings.

    Raises:
        BadData: the limit cannot be judged on these images, or a file is wrong.
        EnvironmentFault: the log cannot be written.
    """
    names = [group.name for group in solved.groups.values()]
    limit, cost = Limit(search.max_drop), _cost(solved, macs, search.timings)
    brief = search.selection.first(search.few)
    with disk_faults(log):
        light = RememberingJudge(GraphJudge(solved, brief), log.with_suffix(".few.jsonl"), key)
        sensitivity = rank(dict.fromkeys(names, QUANTIZED), light)
        judge = RememberingJudge(GraphJudge(solved, search.selection), log, key)
        found = search_plan(dict.fromkeys(names, (QUANTIZED,)), cost, judge, limit, budget=search.budget)
        weights = {group.name: sum(macs[linear.module] for linear in group.linears) for group in solved.groups.values()}
        noise = {damage.group: damage.figures.noise for damage in sensitivity.linears}
        spent = _spend(found.choice, noise, weights, (1 - search.least_share) * sum(weights.values()))
        choice = {name: QUANTIZED for name in found.choice if name not in spent}
        better = spent and light.figures(choice).sqnr_db > light.figures(found.choice).sqnr_db
        if not (better and limit.accepts(judge.figures(choice))):
            spent, choice = (), dict(found.choice)
    measured, resumed = (getattr(light, what) + getattr(judge, what) for what in ("measured", "resumed"))
    return Searched(found, spent, choice, sensitivity, measured, resumed)


def _spend(choice: Choice, noise: Mapping[str, float], weights: Mapping[str, int], budget: float) -> tuple[str, ...]:
    """The linears to give up for accuracy: the most noise a multiply-accumulate first, while the budget lasts.

    What a search left in float before counts against the budget.
    """
    left = budget - sum(weight for name, weight in weights.items() if name not in choice)
    spent: list[str] = []
    for name in sorted(choice, key=lambda name: -noise[name] / weights[name]):
        if weights[name] <= left and len(spent) + 1 < len(choice):
            spent.append(name)
            left -= weights[name]
    return tuple(spent)


def _cost(solved: Solved, macs: Mapping[str, int], timings: str | None) -> CostModel:
    names = [group.name for group in solved.groups.values()]
    if timings:
        return read_timings(Path(timings), names)
    costs = {}
    for tensor, group in solved.groups.items():
        inputs, outputs = solved.problems[tensor].weight.shape
        rows = sum(macs[linear.module] for linear in group.linears) // (inputs * outputs)
        costs[group.name] = LinearCost.of_shape(rows, inputs, outputs)
    return RooflineCost(costs)
