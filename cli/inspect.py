"""`swin-deploy inspect`: what a checkpoint is, and how that was found out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cli.checkpoint_options import checkpoint_options
from cli.option_types import SIZE

__all__ = ["command"]


@click.command(name="inspect", short_help="Show what a checkpoint is, and how that was found out.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--image-size", type=SIZE, help="N or HxW, where nothing beside the checkpoint tells, or to override.")
@checkpoint_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    checkpoint: Path,
    as_json: bool,
    **options: Any,
) -> int:
    """Show CHECKPOINT's dialect, architecture, evidence, preprocessing and what folding will do to it."""
    from swin_deploy.checkpoint.load import load_checkpoint
    from swin_deploy.model.constants import constants_mib, joins
    from swin_deploy.model.layout import token_layout

    found = load_checkpoint(checkpoint, **options)
    spec, sidecar = found.reading.spec, found.sidecar
    geometries = [spec.geometry(stage, block) for stage, block in spec.blocks()]
    facts = {
        "checkpoint": str(checkpoint),
        "dialect": found.dialect,
        "architecture": spec.describe(),
        "spec": json.loads(spec.to_json()),
        "parameters": sum(tensor.numel() for tensor in found.reading.tensors.values()),
        "evidence": list(found.reading.evidence),
        "sidecar": str(sidecar.path) if sidecar.path else None,
        "preprocess": sidecar.preprocess.to_json() if sidecar.preprocess else None,
        "classes": list(sidecar.classes) if sidecar.classes else None,
        "fold": {
            "permutations": token_layout(spec).permutations,
            "constants": spec.depth if constants_mib(spec) else 0,
            "constants_mib_fp32": round(constants_mib(spec), 3),
            "constants_joined": joins(spec),
            "shifted_blocks": sum(geometry.shifted for geometry in geometries),
            "padded_blocks": sum(geometry.padded for geometry in geometries),
        },
    }
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return 0
    click.echo(f"{checkpoint}: {facts['architecture']}, {facts['parameters']:,} parameters")
    for sentence in found.reading.evidence:
        click.echo(f"  {sentence}")
    click.echo(f"  preprocessing: {json.dumps(facts['preprocess']) if sidecar.preprocess else 'not stated'}")
    click.echo(f"  classes: {', '.join(sidecar.classes) if sidecar.classes else 'not named'}")
    click.echo(
        f"  fold: {facts['fold']['constants']} constants, {facts['fold']['constants_mib_fp32']} MiB in FP32"
        f"{'' if joins(spec) else ' (bias and mask apart)'}; "
        f"{facts['fold']['permutations']} permutations; "
        f"{facts['fold']['shifted_blocks']} of {spec.depth} blocks shifted, {facts['fold']['padded_blocks']} padded"
    )
    return 0
