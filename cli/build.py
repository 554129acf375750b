"""`swin-deploy build`: a checkpoint to engines, judged after every stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from cli.option_types import BATCHES, SIZE, SM, TRIPLE, WORDS

__all__ = ["command"]

_PATH = click.Path(path_type=str)


@click.command(name="build", short_help="Take a checkpoint to engines, parity judged after every stage.")
@click.argument("checkpoint", type=_PATH, required=False)
@click.option("--fp16", is_flag=True, help="Make an FP16 chain.")
@click.option("--bf16", is_flag=True, help="Make a BF16 chain.")
@click.option("--int8", is_flag=True, help="Make an INT8 chain; needs --calib-data.")
@click.option("--calib-data", type=_PATH, help="Calibration images: folder (one sub-folder a class), tar or .npz.")
@click.option("--calib-images", type=click.IntRange(0), default=0, help="Calibrate on so many of them; 0: all.")
@click.option("--calib-method", default="percentile", show_default=True, help="min-max or percentile.")
@click.option("--eval-data", type=_PATH, help="Labelled images to judge on; without: synthetic images, no accuracy.")
@click.option("--eval-images", type=click.IntRange(0), default=0, help="Judge on so many of them; 0: all.")
@click.option(
    "--target",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "rtx", "tensorrt", "torch-tensorrt", "torch", "onnxruntime"]),
    help="auto: TensorRT with a GPU, else TensorRT for RTX ahead of time, else ONNX Runtime.",
)
@click.option("--sm", type=SM, default="8.6,8.9,12.0", show_default=True, help="Compute capabilities of an RTX plan.")
@click.option("--batch", type=BATCHES, default="1,8,32", show_default=True, help="MIN,OPT,MAX of one profile.")
@click.option("--profile", type=WORDS, default="strong", show_default=True, help="ONNX profiles: strong, trt86.")
@click.option("--image-size", type=SIZE, help="N or HxW, where nothing beside the checkpoint tells, or to override.")
@click.option("--window", type=SIZE, help="Swin V2's window, likewise.")
@click.option("--pretrained-window", type=SIZE, help="Swin V2's pretrained window, likewise.")
@click.option("--resize", type=click.Choice(["squash", "shorter-side"]), help="Preprocessing, where no JSON tells.")
@click.option("--interpolation", type=click.Choice(["bilinear", "bicubic"]), help="Likewise.")
@click.option(
    "--resampler", type=click.Choice(["torch", "pillow"]), help="Likewise: torch without antialias, or Pillow."
)
@click.option("--crop-pct", type=float, help="Likewise: part of the resized side that the crop keeps.")
@click.option("--mean", type=TRIPLE, help="Likewise, on the 0..1 scale.")
@click.option("--std", type=TRIPLE, help="Likewise, on the 0..1 scale.")
@click.option("--max-drop", type=float, default=1.0, show_default=True, help="Margin of top-1, percentage points.")
@click.option("--require", type=WORDS, help="What exit status 0 must mean: engine (executed), accuracy (conclusive).")
@click.option("--seed", type=int, default=0, show_default=True, help="For subsets and synthetic images.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/<checkpoint>]")
@click.option("--recipe", type=click.Path(path_type=Path), help="TOML file of these options; options given here win.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--resume", is_flag=True, help="Reuse what an earlier run left in the folder, where nothing changed.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest instead of the table.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    out: Path | None,
    recipe: Path | None,
    dry_run: bool,
    resume: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Take CHECKPOINT through fold, compile, precision, export and engine build, and judge every artifact.

    Each precision flag makes a chain of its own; without one the FP32 chain ends in the engine. The run's folder gets
    the artifacts, manifest.json, report.md and the recipe that reproduces it.
    """
    from cli.console import ProgressListener, print_ledger, progress_console
    from swin_deploy import pipeline
    from swin_deploy.atomic import write_text
    from swin_deploy.plan import make_plan, resolve_target
    from swin_deploy.report.markdown import markdown_report
    from swin_deploy.request import calibration_set, evaluation_set, refuse_overlap

    asked = _recipe(ctx, recipe, options)
    console = progress_console(quiet or as_json)
    target, why = resolve_target(asked.target)
    console.print(f"target {target} ({why})", markup=False, soft_wrap=True)
    checkpoint = Path(asked.checkpoint)
    understood = _understood(asked)
    if out is None:
        out = Path("runs") / checkpoint.stem
    calibration = calibration_set(asked, understood)
    plan = make_plan(asked, target, calibration)
    if dry_run:
        _show_plan(plan, target, as_json)
        return 0
    evaluation = evaluation_set(asked, understood)
    refuse_overlap(calibration, evaluation)
    with ProgressListener(console) as listener:
        manifest = pipeline.run(
            plan, asked, target, evaluation, out, classes=understood.sidecar.classes, listener=listener, resume=resume
        )
    write_text(out / "report.md", markdown_report(manifest))
    if as_json:
        click.echo(json.dumps(manifest.to_json(), indent=1))
    else:
        print_ledger(manifest)
        click.echo(f"Everything is in {out}: read {out / 'report.md'} first.")
    assert manifest.status is not None
    return manifest.status


def _recipe(ctx: click.Context, file: Path | None, options: dict[str, Any]) -> Any:
    """The recipe of the file, with the options that were given on the command line on top."""
    from swin_deploy.errors import UsageFault
    from swin_deploy.recipe import Recipe, read_recipe

    values = read_recipe(file) if file else {}
    for name, value in options.items():
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given or name not in values:
            values[name] = value
    if not values.get("checkpoint"):
        raise UsageFault("no checkpoint was named", needed="swin-deploy build CHECKPOINT, or a recipe that names one")
    values["require"] = values.get("require") or ()
    return Recipe(**values)


def _understood(asked: Any) -> Any:
    """Read the checkpoint once before anything is written, so that an unusable one leaves no folder behind."""
    from swin_deploy.checkpoint.load import load_checkpoint

    return load_checkpoint(
        Path(asked.checkpoint),
        image_size=asked.image_size,
        window=asked.window,
        pretrained_window=asked.pretrained_window,
    )


def _show_plan(plan: Any, target: str, as_json: bool) -> None:
    steps = [
        {
            "artifact": step.artifact,
            "stage": step.stage.name,
            "parent": step.parent,
            "file": step.file,
            "unavailable": step.stage.unavailable(),
            "judged": [
                {"as": view.label, "on": view.backend.name, "gate": view.gate.value if view.gate else None}
                for view in step.views
            ],
        }
        for step in plan
    ]
    if as_json:
        click.echo(json.dumps({"target": target, "steps": steps}, indent=1))
        return
    for step in steps:
        judged = "; ".join(f"{view['as']} on {view['on']}, gate {view['gate'] or 'none'}" for view in step["judged"])
        missing = f"  [unavailable here: {step['unavailable']}]" if step["unavailable"] else ""
        click.echo(f"{step['parent']} -> {step['stage']} -> {step['file']}  ({judged}){missing}")
