"""Constants: in a captured network, what depends on weights alone is computed once, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.stages.base import Produced
from swin_deploy.versions import installed

__all__ = ["Constants"]


@dataclass(frozen=True)
class Constants:
    """See `swin_deploy.model.constant_folding`.

    Attributes:
        largest_batch: Upper end of the batch axis.
    """

    largest_batch: int
    name: str = "constants"
    suffix: str = ".pt2"

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        """See `Stage.accepts`."""
        return frozenset({(Format.CAPTURED, Precision.FP32)})

    @property
    def produces(self) -> tuple[Format, Precision]:
        """See `Stage.produces`."""
        return Format.CAPTURED, Precision.FP32

    def tools(self) -> Mapping[str, str]:
        """See `Stage.tools`."""
        return installed("torch")

    def unavailable(self) -> str | None:
        """See `Stage.unavailable`."""
        return None

    def run(self, parent: Artifact, out: Path) -> Produced:
        """See `Stage.run`."""
        from swin_deploy.model.capture import open_program, save_program
        from swin_deploy.model.constant_folding import fold_constants, same_outputs
        from swin_deploy.torch_versions import count_operators

        program, names = open_program(parent.path)
        folding = fold_constants(program, self.largest_batch)
        equal = same_outputs(program, folding.program)
        folded = folding.program if equal else program
        save_program(folded, names, out)
        operators = {"captured": count_operators(program), "deployment": count_operators(folded)}
        note = f"{operators['captured']} operators became {operators['deployment']}, every bit of the outputs the same"
        if not equal:
            note = "nothing was folded: the folded graph gave other bits than the captured one"
        return Produced(
            {
                "operators": operators,
                "constants": folding.constants if equal else 0,
                "constants_mib": round(folding.mib, 3) if equal else 0.0,
            },
            (note,),
        )
