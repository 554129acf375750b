"""Fold: the paper form becomes the deployment form, with a proof in float64 that it is the same function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.errors import GateFailed
from swin_deploy.stages.base import Produced
from swin_deploy.versions import installed

__all__ = ["Fold"]


@dataclass(frozen=True)
class Fold:
    """See `swin_deploy.model.fold.fold`."""

    affine: bool = False
    name: str = "fold"
    suffix: str = ".safetensors"

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        """See `Stage.accepts`."""
        return frozenset({(Format.CHECKPOINT, Precision.FP32)})

    @property
    def produces(self) -> tuple[Format, Precision]:
        """See `Stage.produces`."""
        return Format.DEPLOYMENT, Precision.FP32

    def tools(self) -> Mapping[str, str]:
        """See `Stage.tools`."""
        return installed("torch", "safetensors")

    def unavailable(self) -> str | None:
        """See `Stage.unavailable`."""
        return None

    def run(self, parent: Artifact, out: Path) -> Produced:
        """See `Stage.run`.

        Raises:
            GateFailed: the proof does not hold, so the two forms are not the same function.
        """
        from swin_deploy.model.constants import LARGEST_MIB, constants_mib, joins
        from swin_deploy.model.deployment import additive_constants
        from swin_deploy.model.fold import PROOF_BOUND, fold, prove
        from swin_deploy.model.forms import open_reference, save_deployment, spec_of
        from swin_deploy.model.layout import token_layout
        from swin_deploy.torch_versions import count_operators, export_program

        reference = open_reference(parent.path)
        folded = fold(reference, affine=self.affine)
        proof = prove(reference, affine=self.affine)
        if not proof.holds:
            raise GateFailed(
                f"the folded form differs from the paper form by {proof.relative_error:.1e} in float64",
                needed=f"at most {PROOF_BOUND:.0e}",
                do="This is a defect of the fold: please report it with the architecture that inspect prints",
            )
        save_deployment(folded, out)
        spec = spec_of(folded)
        operators = {
            form: count_operators(export_program(model, spec.image_size, 2, "cpu", spec.channels))
            for form, model in (("paper", reference), ("deployment", folded))
        }
        notes = [f"{operators['paper']} operators became {operators['deployment']}"]
        if not joins(spec):
            joined = constants_mib(spec, joined=True)
            notes.append(
                f"position bias and shift mask as one constant a block would take {joined:.0f} MiB, more than "
                f"{LARGEST_MIB:.0f}: they are kept apart, in {constants_mib(spec):.0f} MiB"
            )
        return Produced(
            {
                "proof_float64": proof.relative_error,
                "operators": operators,
                "permutations": token_layout(spec).permutations,
                "constants": len(additive_constants(folded)),
                "constants_mib": round(constants_mib(spec), 3),
                "constants_joined": joins(spec),
            },
            tuple(notes),
        )
