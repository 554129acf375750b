"""`swin-deploy inspect`: what a checkpoint is, and how that was found out."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cli.option_types import SIZE

__all__ = ["command"]


@click.command(name="inspect", short_help="Show what a checkpoint is, and how that was found out.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--image-size", type=SIZE, help="N or HxW, where nothing beside the checkpoint tells, or to override.")
@click.option("--window", type=SIZE, help="Swin V2's window, likewise.")
@click.option("--pretrained-window", type=SIZE, help="Swin V2's pretrained window, likewise.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    checkpoint: Path,
    image_size: tuple[int, int] | None,
    window: tuple[int, int] | None,
    pretrained_window: tuple[int, int] | None,
    as_json: bool,
) -> int:
    """Show CHECKPOINT's dialect, architecture, evidence, preprocessing and what folding will do to it."""
    from swin_deploy.checkpoint.load import load_checkpoint
    from swin_deploy.model.layout import token_layout

    found = load_checkpoint(checkpoint, image_size=image_size, window=window, pretrained_window=pretrained_window)
    spec, sidecar = found.reading.spec, found.sidecar
    geometries = [spec.geometry(stage, block) for stage, block in spec.blocks()]
    constants = [
        (geometry.windows if geometry.shifted else 1) * spec.stages[stage].heads * geometry.tokens**2 * 4
        for (stage, _), geometry in zip(spec.blocks(), geometries, strict=True)
    ]
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
            "constants": len(constants),
            "constants_mib_fp32": round(sum(constants) / 2**20, 3),
            "shifted_blocks": sum(geometry.shifted for geometry in geometries),
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
        f"  fold: {len(constants)} constants, {facts['fold']['constants_mib_fp32']} MiB in FP32; "
        f"{facts['fold']['permutations']} permutations; "
        f"{facts['fold']['shifted_blocks']} of {spec.depth} blocks shifted"
    )
    return 0
