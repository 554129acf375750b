"""Judge plans of one solved network: quantize what a plan chooses, run it, compare with the float network."""

from __future__ import annotations

import numpy as np

from calib.plan_judge import Choice, TaskDamage
from calib.tools.problem import Array
from swin_deploy.device.distances import Distance, distance, worst_of
from swin_deploy.parity.evaluation import EvaluationSet
from swin_deploy.parity.paired_drop import PairedDrop, paired_drop
from swin_deploy.quantization.solve import Solved

__all__ = ["QUANTIZED", "GraphJudge"]

QUANTIZED = "quantized"
"""The one variant that a choice can give a linear."""


class GraphJudge:
    """A `calib.plan_judge.PlanJudge` over one set of images.

    Args:
        solved: The network with the solutions of its linears.
        images: What it is run on; with labels, the task's damage is measured too.
        batch: Images a step.
    """

    def __init__(self, solved: Solved, images: EvaluationSet, *, batch: int = 32) -> None:
        self._solved, self._images, self._batch = solved, images, batch
        self._tensor_of = {group.name: tensor for tensor, group in solved.groups.items()}
        self._wanted = self._run(None)
        self._last: tuple[dict[str, str], dict[str, Array]] | None = None

    @property
    def candidates(self) -> tuple[str, ...]:
        """The names that a choice may hold: linears, or several with one input, joined by `+`."""
        return tuple(self._tensor_of)

    def sqnr_db(self, choice: Choice) -> float:
        """See `PlanJudge.sqnr_db`."""
        return self.distance(choice).sqnr_db

    def task(self, choice: Choice) -> TaskDamage | None:
        """See `PlanJudge.task`."""
        drop = self.drop(choice)
        return None if drop is None else TaskDamage(drop.drop, drop.upper)

    def distance(self, choice: Choice) -> Distance:
        """Distance to the float network."""
        found = self._outputs(choice)
        return worst_of(
            {
                name: distance(values, self._wanted[name], classes=not self._images.dense)
                for name, values in found.items()
            }
        )

    def drop(self, choice: Choice) -> PairedDrop | None:
        """The paired drop in top-1; `None` without labels."""
        if self._images.labels is None:
            return None
        (found,) = self._outputs(choice).values()
        (wanted,) = self._wanted.values()
        return paired_drop(found, wanted, self._images.labels)

    def _outputs(self, choice: Choice) -> dict[str, Array]:
        """One run answers both questions about a choice."""
        if self._last is None or self._last[0] != dict(choice):
            self._last = (dict(choice), self._run(choice))
        return self._last[1]

    def _run(self, choice: Choice | None) -> dict[str, Array]:
        from swin_deploy.backends.onnxruntime import outputs_of

        graph = self._solved.graph
        if choice is not None:
            graph = self._solved.restricted([self._tensor_of[name] for name in choice]).quantized(folded=True)
        pieces = list(outputs_of(graph, self._images.batches(self._batch)))
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
