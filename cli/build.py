"""`swin-deploy build`: a checkpoint to engines, judged after every stage."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from cli.checkpoint_options import checkpoint_options
from cli.option_types import BATCHES, BLOCKS, SIZE, SM, TRIPLE, WORDS
from cli.quantization_options import quantization_options

__all__ = ["command"]

_PATH = click.Path(path_type=str)


@click.command(name="build", short_help="Take a checkpoint to engines, parity judged after every stage.")
@click.argument("checkpoint", type=_PATH, required=False)
@click.option("--fp16", is_flag=True, help="Make an FP16 chain.")
@click.option("--bf16", is_flag=True, help="Make a BF16 chain.")
@click.option("--int8", is_flag=True, help="Make an INT8 chain; needs --calib-data.")
@click.option("--fp8", is_flag=True, help="Make an FP8 (E4M3) chain, for compute capability 8.9 and later; likewise.")
@click.option(
    "--fp32-blocks", type=BLOCKS, default=(), help="Blocks that FP16 and BF16 leave in FP32; bisect finds them."
)
@quantization_options
@click.option("--eval-data", type=_PATH, help="Labelled images to judge on; without: synthetic images, no accuracy.")
@click.option("--eval-images", type=click.IntRange(0), default=0, help="Judge on so many of them; 0: all.")
@click.option(
    "--compile/--no-compile",
    default=True,
    help="With torch.compile and AOTInductor, or without: they take longest on a small machine.",
)
@click.option(
    "--fused/--no-fused",
    default=True,
    help="With the fused form, of kernels of our own: judged, and on a GPU compiled; or without.",
)
@click.option(
    "--target",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "rtx", "tensorrt", "torch-tensorrt", "torch", "onnxruntime"]),
    help="auto: TensorRT with a GPU, else TensorRT for RTX ahead of time, else ONNX Runtime.",
)
@click.option("--sm", type=SM, default="8.6,8.9,12.0", show_default=True, help="Compute capabilities of an RTX plan.")
@click.option("--batch", type=BATCHES, default="1,8,32", show_default=True, help="MIN,OPT,MAX of one profile.")
@click.option(
    "--profile", type=WORDS, default="strong", show_default=True, help="ONNX profiles: strong, trt86, trt85, cpu."
)
@click.option(
    "--image-size",
    type=SIZE,
    multiple=True,
    help="N or HxW, where nothing beside the checkpoint tells, or to override; several: one run each, in its folder.",
)
@checkpoint_options
@click.option("--model", help="package.module:function that makes your own network for the checkpoint's weights.")
@click.option("--resize", type=click.Choice(["squash", "shorter-side"]), help="Preprocessing, where no JSON tells.")
@click.option("--interpolation", type=click.Choice(["bilinear", "bicubic"]), help="Likewise.")
@click.option(
    "--resampler", type=click.Choice(["torch", "pillow"]), help="Likewise: torch without antialias, or Pillow."
)
@click.option("--crop-pct", type=float, help="Likewise: part of the resized side that the crop keeps.")
@click.option("--mean", type=TRIPLE, help="Likewise, on the 0..1 scale.")
@click.option("--std", type=TRIPLE, help="Likewise, on the 0..1 scale.")
@click.option("--max-drop", type=float, default=1.0, show_default=True, help="Margin of top-1, percentage points.")
@click.option(
    "--max-psnr-drop", type=float, default=0.1, show_default=True, help="Margin of restoration, dB of PSNR-Y."
)
@click.option(
    "--require",
    type=WORDS,
    help="What exit status 0 must mean: engine (executed), accuracy (conclusive), fused (attention).",
)
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
    the artifacts, manifest.json, report.md, report.html and the recipe that reproduces it; several image sizes have a
    folder each.
    """
    from cli.console import progress_console
    from swin_deploy.plan import resolve_target

    recipes = _recipes(ctx, recipe, options)
    console = progress_console(quiet or as_json)
    target, why = resolve_target(recipes[0].target)
    console.print(f"target {target} ({why})", markup=False, soft_wrap=True)
    if out is None:
        out = Path("runs") / Path(recipes[0].checkpoint).stem
    # Every size is read before the first is built, so that an unusable one leaves no folder behind.
    prepared = [_prepared(asked, target, dry_run) for asked in recipes]
    if dry_run:
        _show_plans(prepared, target, as_json)
        return 0
    manifests = []
    for ready in prepared:
        folder = out if len(prepared) == 1 else out / "x".join(map(str, ready.asked.image_size))
        manifests.append(_built(ready, target, folder, console, resume=resume, as_json=as_json))
    if as_json:
        click.echo(json.dumps(manifests[0] if len(manifests) == 1 else manifests, indent=1))
    return max(int(manifest["status"]) for manifest in manifests)


@dataclass(frozen=True)
class _Prepared:
    """One run, read and planned but not begun."""

    asked: Any
    understood: Any
    plan: Any
    evaluation: Any


def _prepared(asked: Any, target: str, dry_run: bool) -> _Prepared:
    from swin_deploy.plan import make_plan
    from swin_deploy.request import evaluation_set, quantization_data

    understood = _understood(asked)
    evaluation = None if dry_run and not asked.search else evaluation_set(asked, understood)
    data, evaluation = quantization_data(asked, understood, evaluation)
    plan = make_plan(asked, target, data, understood.image_size if asked.model else None)
    return _Prepared(asked, understood, plan, evaluation)


def _built(ready: _Prepared, target: str, out: Path, console: Any, *, resume: bool, as_json: bool) -> dict[str, Any]:
    """Run it, and show what came of it unless JSON is wanted of all runs at the end."""
    from cli.console import ProgressListener, print_ledger
    from swin_deploy import pipeline
    from swin_deploy.report.write import write_report

    classes = ready.understood.sidecar.classes
    with ProgressListener(console) as listener:
        manifest = pipeline.run(
            ready.plan, ready.asked, target, ready.evaluation, out, classes=classes, listener=listener, resume=resume
        )
    report = write_report(manifest, out)
    if not as_json:
        print_ledger(manifest)
        click.echo(f"Everything is in {out}: read {report} first, or open report.html beside it.")
    assert manifest.status is not None
    return manifest.to_json()


def _recipes(ctx: click.Context, file: Path | None, options: dict[str, Any]) -> list[Any]:
    """The recipe of the file, with the options of the command line on top: one for each image size."""
    from swin_deploy.errors import UsageFault
    from swin_deploy.recipe import Recipe, read_recipe

    values = read_recipe(file) if file else {}
    sizes = options.pop("image_size") or (values.get("image_size"),)
    for name, value in options.items():
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given or name not in values:
            values[name] = value
    if not values.get("checkpoint"):
        raise UsageFault("no checkpoint was named", needed="swin-deploy build CHECKPOINT, or a recipe that names one")
    if len(set(sizes)) != len(sizes):
        raise UsageFault("--image-size is given twice with the same size", needed="each size once")
    values["require"] = values.get("require") or ()
    return [Recipe(**{**values, "image_size": size}) for size in sizes]


def _understood(asked: Any) -> Any:
    """Read the checkpoint once before anything is written."""
    if asked.model:
        from swin_deploy.checkpoint.own_model import open_own_model

        return open_own_model(Path(asked.checkpoint), asked.model, image_size=asked.image_size, ema=asked.ema)
    from swin_deploy.checkpoint.load import load_checkpoint

    return load_checkpoint(Path(asked.checkpoint), **asked.loading())


def _show_plans(prepared: list[_Prepared], target: str, as_json: bool) -> None:
    plans: list[dict[str, Any]] = [{"target": target, "steps": _steps(ready.plan)} for ready in prepared]
    if as_json:
        click.echo(json.dumps(plans[0] if len(plans) == 1 else plans, indent=1))
        return
    for ready, plan in zip(prepared, plans, strict=True):
        if len(plans) > 1:
            click.echo(f"images of {'x'.join(map(str, ready.asked.image_size))}:")
        for step in plan["steps"]:
            judged = "; ".join(
                f"{view['as']} on {view['on']}, gate {view['gate'] or 'none'}" for view in step["judged"]
            )
            missing = f"  [unavailable here: {step['unavailable']}]" if step["unavailable"] else ""
            click.echo(f"{step['parent']} -> {step['stage']} -> {step['file']}  ({judged}){missing}")


def _steps(plan: Any) -> list[dict[str, Any]]:
    return [
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
