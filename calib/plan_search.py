"""Find the plan with the most INT8 that stays within a limit, then the variants of its linears with the least noise.

The search is greedy, then refined. It starts with everything quantized. While that is over the limit, the linear with
the most noise for its saving is left out. What was left out is then tried again, the least noise first, then in
exchange for linears that are in. Among plans of this saving, the variants of each linear are tried one after the other
and kept on a measured gain of SQNR.

Noise of single linears, measured alone, only says what to try next. Whether a plan is acceptable is always measured, as
errors interact: so the result is a plan that was seen to be within the limit on the images it was selected on, though
not surely the best of all. Since the best-looking of many is kept, its figures flatter it: report it on other images
(`calib.halves`).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from calib.cost import CostModel
from calib.errors import BadData
from calib.plan_judge import Choice, Figures
from calib.search_log import RememberingJudge

__all__ = ["FoundPlan", "Limit", "Move", "Step", "Stop", "search_plan"]

# Gains below this share of all savings are rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Limit:
    """What a plan has to keep to.

    Attributes:
        max_drop: Percentage points that the upper bound of the drop may reach; holds where there are labels.
        floor_db: SQNR in dB that a plan must not be below; needed where there are no labels, and holds beside
            `max_drop` where there are.
    """

    max_drop: float | None = None
    floor_db: float | None = None

    def __post_init__(self) -> None:
        """Refuse a limit that says nothing.

        Raises:
            BadData: there is none, or one is not finite.
        """
        given = [value for value in (self.max_drop, self.floor_db) if value is not None]
        if not given or not all(math.isfinite(value) for value in given):
            raise BadData(
                f"a limit of {self.max_drop} points and {self.floor_db} dB",
                needed="at least one of a largest drop in percentage points and a least SQNR in dB, finite",
            )

    def accepts(self, figures: Figures) -> bool:
        """Whether a plan with these figures is within the limit.

        Raises:
            BadData: there are no labels, and no least SQNR either.
        """
        task = figures.task
        if self.floor_db is None and task is None:
            raise BadData(
                f"a limit of {self.max_drop} percentage points, and images without labels",
                needed="labels, or a least SQNR in dB to judge plans by",
            )
        if self.floor_db is not None and figures.sqnr_db < self.floor_db:
            return False
        return task is None or self.max_drop is None or task.upper <= self.max_drop


class Move(enum.Enum):
    """What a step tries."""

    ALL = "all"
    FLOAT = "float"
    ALONE = "alone"
    LEAVE_OUT = "leave out"
    PUT_BACK = "put back"
    EXCHANGE = "exchange"
    VARIANT = "variant"


class Stop(enum.Enum):
    """Why a search ended, as a sentence; see `FoundPlan.reason`."""

    EVERYTHING = "every linear that pays could be quantized"
    SEARCHED = "of what was left out, nothing could be put back, nor exchanged in the tries that patience allowed"
    BUDGET = "the budget was used up: a longer search may find more"
    NOTHING = "no plan is acceptable: not one linear could be quantized within the limit, so all stay in float"
    UNPROVABLE = (
        "no plan is acceptable: the float network itself is not within the limit on these images, so all stay in float;"
        " where the bound of its drop is the reason, more images narrow it"
    )
    NOTHING_PAYS = "quantizing saves nothing on any linear by this cost, so all stay in float"


@dataclass(frozen=True)
class Step:
    """One plan that was looked at.

    Attributes:
        move: What kind of step.
        changes: `+module`, `-module` or `module=variant`, against the best plan before; for what was left out, against
            the plan tried before; for all and for one alone, against float.
        figures: What the judge measured.
        acceptable: Whether that is within the limit.
        kept: Whether the search went on from it.
        saving: Of the whole plan, in the cost's unit.
    """

    move: Move
    changes: tuple[str, ...]
    figures: Figures
    acceptable: bool
    kept: bool
    saving: float

    def to_json(self) -> dict[str, Any]:
        """As it stands in a report."""
        task = self.figures.task
        return {
            "move": self.move.value,
            "changes": list(self.changes),
            "sqnr_db": self.figures.sqnr_db,
            "drop": None if task is None else task.drop,
            "drop_upper": None if task is None else task.upper,
            "acceptable": self.acceptable,
            "kept": self.kept,
            "saving": self.saving,
        }


@dataclass(frozen=True)
class FoundPlan:
    """What a search came to.

    Attributes:
        choice: The linears to quantize, in the graph's order, each with its variant; empty for all float.
        figures: Its measurement, on the images of the selection; `None` if nothing acceptable was measured.
        saving: What it saves, in the cost's unit.
        possible: What quantizing every linear that pays would save.
        steps: Everything that was looked at, in order.
        stop: Why the search ended.
        evaluations: How many different plans it asked about, remembered ones included.
    """

    choice: Choice
    figures: Figures | None
    saving: float
    possible: float
    steps: tuple[Step, ...]
    stop: Stop
    evaluations: int

    @property
    def reason(self) -> str:
        """A sentence that says why the search ended and, if it is so, that nothing was found."""
        if self.stop is Stop.BUDGET and not self.choice:
            return "the budget was used up before an acceptable plan was found, so all linears stay in float"
        return self.stop.value

    def to_json(self) -> dict[str, Any]:
        """As it stands in a report."""
        task = None if self.figures is None else self.figures.task
        return {
            "choice": dict(self.choice),
            "sqnr_db": None if self.figures is None else self.figures.sqnr_db,
            "drop": None if task is None else task.drop,
            "drop_upper": None if task is None else task.upper,
            "saving": self.saving,
            "possible": self.possible,
            "stop": self.stop.name.lower().replace("_", "-"),
            "reason": self.reason,
            "evaluations": self.evaluations,
            "steps": [step.to_json() for step in self.steps],
        }


def search_plan(
    variants: Mapping[str, Sequence[str]],
    cost: CostModel,
    judge: RememberingJudge,
    limit: Limit,
    *,
    budget: int = 400,
    patience: int = 24,
    least_gain_db: float = 0.01,
) -> FoundPlan:
    """Search; the same arguments and figures give the same result, whether measured or remembered.

    Args:
        variants: The linears that may be quantized, in the graph's order, and for each the names of its variants, the
            first of which is its default.
        cost: What quantizing saves. Linears whose saving is not above 0 stay in float.
        judge: Measures on the images of the selection.
        limit: What a plan has to keep to.
        budget: How many different plans may be asked about, remembered ones included, so that a resumed search ends
            where an uninterrupted one does.
        patience: The exchanges end after so many in a row that were not acceptable; they are by far the most.
        least_gain_db: A variant has to raise the SQNR by more than this, in dB: less says nothing about other images.

    Raises:
        BadData: no linear, a linear without a variant, a cost that is not known, or a limit that cannot be judged.
    """
    if not variants or not all(variants.values()):
        raise BadData("a linear without a variant, or no linear", needed="at least one variant of each linear")
    if budget < 1:
        raise BadData(f"a budget of {budget} plans", needed="at least 1")
    return _Search(variants, cost, judge, limit, budget, patience, least_gain_db).run()


class _BudgetSpent(Exception):
    """Ends a search from within."""


class _Search:
    """The state of one search: the best acceptable plan so far and how it came about."""

    def __init__(
        self,
        variants: Mapping[str, Sequence[str]],
        cost: CostModel,
        judge: RememberingJudge,
        limit: Limit,
        budget: int,
        patience: int,
        least_gain_db: float,
    ) -> None:
        savings = {module: cost.saving(module) for module in variants}
        self._saving = {module: saving for module, saving in savings.items() if saving > 0}
        self._variants = {module: tuple(variants[module]) for module in self._saving}
        self._judge, self._limit = judge, limit
        self._budget, self._patience, self._least_gain_db = budget, patience, least_gain_db
        self._noise = dict.fromkeys(self._saving, 0.0)  # of each linear alone, once it matters
        self._asked: set[frozenset[tuple[str, str]]] = set()
        self._steps: list[Step] = []
        self._best: dict[str, str] = {}
        self._figures: Figures | None = None

    def run(self) -> FoundPlan:
        try:
            stop = self._run()
        except _BudgetSpent:
            stop = Stop.BUDGET
        return FoundPlan(
            {module: self._best[module] for module in self._inside()},
            self._figures,
            self._saved(self._best),
            self._saved(self._saving),
            tuple(self._steps),
            stop,
            len(self._asked),
        )

    def _run(self) -> Stop:
        if not self._saving:
            return Stop.NOTHING_PAYS
        everything = {module: names[0] for module, names in self._variants.items()}
        if not self._try(Move.ALL, everything, since={}):
            # Before a plan is looked for, whether there can be one: the bound of a drop of 0 is above 0.
            if not self._try(Move.FLOAT, {}):
                return Stop.UNPROVABLE
            for module in everything:
                self._noise[module] = self._alone(module)
            self._leave_out(everything)
            self._put_back()
            # Exchanges are many and gain little; the variants of the linears shall have their part of the budget.
            left = self._budget - len(self._asked)
            several = any(len(names) > 1 for names in self._variants.values())
            self._exchange(len(self._asked) + (left // 2 if several else left))
        # Less noise may make room for what was left out.
        while self._tune() and self._put_back():
            pass
        if not self._best:
            return Stop.NOTHING
        return Stop.EVERYTHING if len(self._best) == len(self._saving) else Stop.SEARCHED

    def _leave_out(self, everything: Choice) -> None:
        rest = dict(everything)
        for module in sorted(rest, key=lambda module: -self._noise[module] / self._saving[module]):
            before = dict(rest)
            del rest[module]
            if not rest or self._try(Move.LEAVE_OUT, rest, since=before):
                return

    def _put_back(self) -> bool:
        """Try to add each linear that is out, until none can be added; returns whether one was."""
        any_kept, again = False, True
        while again:
            again = False
            for module in sorted(self._outside(), key=lambda module: self._noise[module]):
                again |= self._try(Move.PUT_BACK, {**self._best, module: self._variants[module][0]})
            any_kept |= again
        return any_kept

    def _exchange(self, until: int) -> None:
        """Try to trade linears that are in for others that save more, while fewer than `until` plans were asked for."""
        failed, again = 0, True
        while again:
            again = False
            for gone, come in self._exchanges():
                before = len(self._asked)
                if failed >= self._patience or before >= until:
                    return
                kept = {module: variant for module, variant in self._best.items() if module not in gone}
                if self._try(Move.EXCHANGE, {**kept, **{module: self._variants[module][0] for module in come}}):
                    self._put_back()
                    failed, again = 0, True
                    break
                failed += len(self._asked) - before  # what was asked before costs no patience

    def _exchanges(self) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        """One for one, one for two and two for one, where that saves more; the least expected noise first."""
        least = _ROUNDING * self._saved(self._saving)
        inside, outside = self._inside(), self._outside()
        found: list[tuple[float, float, tuple[str, ...], tuple[str, ...]]] = []
        for leaving, coming in ((1, 1), (1, 2), (2, 1)):
            for gone in combinations(inside, leaving):
                for come in combinations(outside, coming):
                    gain = self._saved(come) - self._saved(gone)
                    if gain > least:
                        noise = sum(self._noise[module] for module in come) - sum(self._noise[x] for x in gone)
                        found.append((noise, -gain, gone, come))
        found.sort(key=lambda entry: entry[:2])  # stable, so equal ones stay in the graph's order
        return [(gone, come) for _, _, gone, come in found]

    def _tune(self) -> bool:
        """Try the variants of each linear until none lowers the noise; returns whether one did."""
        any_kept, again = False, True
        while again:
            again = False
            # The noisiest first: theirs is the most to be won before a budget ends.
            for module in sorted(self._inside(), key=lambda module: -self._noise[module]):
                for variant in self._variants[module]:
                    if variant != self._best[module]:
                        assert self._figures is not None, "a plan that is kept was measured"
                        above = self._figures.sqnr_db + self._least_gain_db
                        again |= self._try(Move.VARIANT, {**self._best, module: variant}, above_db=above)
            any_kept |= again
        return any_kept

    def _try(self, move: Move, choice: Choice, *, since: Choice | None = None, above_db: float = -math.inf) -> bool:
        """Measure a plan and go on from it if it is acceptable and its SQNR above `above_db`.

        Args:
            move: What kind of step.
            choice: The plan.
            since: The plan to name the changes against; the best one without.
            above_db: See above.
        """
        figures = self._ask(choice)
        acceptable = self._limit.accepts(figures)
        kept = acceptable and figures.sqnr_db > above_db
        self._note(move, choice, self._best if since is None else since, figures, acceptable, kept)
        if kept:
            self._best, self._figures = dict(choice), figures
        return kept

    def _alone(self, module: str) -> float:
        """The noise of a linear when all others are in float."""
        choice = {module: self._variants[module][0]}
        figures = self._ask(choice)
        self._note(Move.ALONE, choice, {}, figures, self._limit.accepts(figures), False)
        return figures.noise

    def _ask(self, choice: Choice) -> Figures:
        place = frozenset(choice.items())
        if place not in self._asked:
            if len(self._asked) >= self._budget:
                raise _BudgetSpent
            self._asked.add(place)
        return self._judge.figures(choice)

    def _note(self, move: Move, choice: Choice, since: Choice, figures: Figures, acceptable: bool, kept: bool) -> None:
        gone = [f"-{module}" for module in self._saving if module in since and module not in choice]
        come = [f"+{module}" for module in self._saving if module in choice and module not in since]
        other = [
            f"{module}={choice[module]}"
            for module in self._saving
            if module in choice and module in since and choice[module] != since[module]
        ]
        self._steps.append(Step(move, (*gone, *come, *other), figures, acceptable, kept, self._saved(choice)))

    def _inside(self) -> list[str]:
        return [module for module in self._saving if module in self._best]

    def _outside(self) -> list[str]:
        return [module for module in self._saving if module not in self._best]

    def _saved(self, modules: Iterable[str]) -> float:
        return math.fsum(self._saving[module] for module in modules)
