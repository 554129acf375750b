"""A recipe: everything a build was asked for, as options on the command line or as a TOML file.

The two say the same things under the same names, so a run can write down the recipe that reproduces it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from calib.tools.step import METHODS
from calib.tools.toolbox import DEFAULT_TOOLS, TOOLS
from swin_deploy.checkpoint.hints import TASKS
from swin_deploy.device.tensorrt_versions import refused_family
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.onnx_graph.placement import POLICIES
from swin_deploy.onnx_graph.profiles import PROFILES

__all__ = ["REQUIREMENTS", "TARGETS", "Recipe", "read_recipe"]

TARGETS = ("auto", "rtx", "tensorrt", "torch-tensorrt", "torch", "onnxruntime")
REQUIREMENTS = ("engine", "accuracy", "fused")
_PATHS = ("checkpoint", "calib_data", "eval_data", "calibration", "precision_plan", "timings")
Size = tuple[int, int]
Sizes = tuple[Size, ...]
Stages = tuple[int, ...]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Recipe:
    """Options of `swin-deploy build`, with their defaults.

    Attributes:
        checkpoint: The trained model.
        fp16: Make an FP16 chain.
        bf16: Make a BF16 chain.
        int8: Make an INT8 chain; needs `calib_data` or `calibration`.
        fp8: Make an FP8 (E4M3) chain, likewise; for compute capability 8.9 and later.
        fp32_blocks: Blocks that stay in FP32 in the FP16 and BF16 chains, as `bisect` names them.
        calib_data: Calibration images.
        calib_images: Use at most so many of them, balanced over the classes; 0 for all.
        calib_method: How ranges are found, see `calib.tools.step.METHODS`.
        calib_tools: What is done for accuracy, see `calib.tools.toolbox.TOOLS`; empty for none.
        calib_seeds: Calibrations to compare, on resampled images; 1 for no comparison.
        calibration: The calibration file of an earlier run, instead of finding scales anew.
        placement: Which linears get Q/DQ, see `onnx_graph.placement`.
        exclude: Regular expressions of linears that stay in float.
        precision_plan: A file that says which linear gets which precision, see `calib.precision_plan`.
        search: Search the plan with the most INT8 within `max_drop`, on one half of the evaluation images; the run is
            judged on the other.
        int8_share: Of the linears' multiply-accumulates, what a search keeps quantized at least where the drop allows.
        timings: Measured times of each linear for the search, see `calib.cost`.
        eval_data: Evaluation images; synthetic ones without.
        eval_images: Use at most so many of them, balanced over the classes; 0 for all.
        compile: Also compile with torch.compile and AOTInductor, which takes longest of all on a small machine.
        fused: Also judge the fused form, and compile it where there is a GPU.
        target: One of `TARGETS`.
        sm: Compute capabilities to build RTX plans for.
        batch: Smallest, usual and largest batch of one profile.
        profile: ONNX export profiles, see `onnx_graph.profiles`.
        model: `package.module:function` that makes the user's own network for the checkpoint's weights.
        dialect: The checkpoint's layout; detected without.
        task: `classification`, `backbone` or `restoration`, where it is not left to the keys.
        out_stages: Stages whose features a backbone gives.
        attention: Another attention: a shipped variant or `package.module:Class`.
        image_range: Restoration: the range that the model computes in.
        ema: The averaged weights (true) or the plain ones (false) of a file that holds both.
        image_size: Height and width in pixels, where no tensor or side-car tells, or to override.
        window: The window, likewise; a V1's bias tables are interpolated to it.
        pretrained_window: Swin V2's pretrained window, likewise: one, or one a stage.
        resize: How images were prepared, where no side-car tells, or to override it: see `calib.preprocess`. The
            other five are of the same kind.
        interpolation: Likewise.
        resampler: Likewise.
        crop_pct: Likewise.
        mean: Likewise.
        std: Likewise.
        max_drop: Margin of the top-1 gates, in percentage points.
        max_psnr_drop: Margin of restoration's gates against pictures, in dB of PSNR-Y.
        require: What must be shown for exit status 0: `engine` executed, `accuracy` conclusive, attention `fused`.
        seed: For subsets and synthetic images.
    """

    checkpoint: str
    fp16: bool = False
    bf16: bool = False
    int8: bool = False
    fp8: bool = False
    fp32_blocks: tuple[str, ...] = ()
    calib_data: str | None = None
    calib_images: int = 512
    calib_method: str = "output"
    calib_tools: tuple[str, ...] = DEFAULT_TOOLS
    calib_seeds: int = 3
    calibration: str | None = None
    placement: str = "linears"
    exclude: tuple[str, ...] = ()
    precision_plan: str | None = None
    search: bool = False
    int8_share: float = 0.9
    timings: str | None = None
    eval_data: str | None = None
    eval_images: int = 0
    compile: bool = True
    fused: bool = True
    target: str = "auto"
    sm: tuple[str, ...] = ("8.6", "8.9", "12.0")
    batch: tuple[int, int, int] = (1, 8, 32)
    profile: tuple[str, ...] = ("strong",)
    model: str | None = None
    dialect: str | None = None
    task: str | None = None
    out_stages: Stages | None = None
    attention: str | None = None
    image_range: float | None = None
    ema: bool | None = None
    image_size: Size | None = None
    window: Size | None = None
    pretrained_window: Sizes | None = None
    resize: str | None = None
    interpolation: str | None = None
    resampler: str | None = None
    crop_pct: float | None = None
    mean: Triple | None = None
    std: Triple | None = None
    max_drop: float = 1.0
    max_psnr_drop: float = 0.1
    require: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, before anything is loaded."""
        smallest, usual, largest = self.batch
        if not 1 <= smallest <= usual <= largest:
            raise UsageFault(
                f"--batch {smallest},{usual},{largest}",
                needed="smallest, usual and largest batch of one profile, ascending, from 1",
            )
        self._check_quantization()
        for option, values, known in (
            ("--target", (self.target,), TARGETS),
            ("--require", self.require, REQUIREMENTS),
            ("--profile", self.profile, PROFILES),
            ("--task", (self.task,) if self.task else (), TASKS),
            ("--calib-method", (self.calib_method,), METHODS),
            ("--calib-tools", self.calib_tools, (*TOOLS, "none")),
            ("--placement", (self.placement,), tuple(POLICIES)),
        ):
            unknown = sorted(set(values) - set(known))
            if unknown:
                raise UsageFault(f"{option} {', '.join(unknown)}", needed="one of " + ", ".join(known))
        if self.model and (self.dialect or self.task or self.out_stages or self.attention or self.window):
            raise UsageFault(
                "--model together with --dialect, --task, --out-stages, --attention or --window",
                needed="one of the two: a network of your own, or a checkpoint of a known layout",
            )
        self._check_numbers()
        self._check_paths()
        if "accuracy" in self.require and not self.eval_data:
            raise UsageFault("--require accuracy without --eval-data", needed="labelled evaluation images")
        readable = all(re.fullmatch(r"[0-9]+\.[0-9]", entry) for entry in self.sm)
        if not self.sm or not readable or len(set(self.sm)) != len(self.sm):
            raise UsageFault(
                f"--sm {','.join(self.sm)}", needed="compute capabilities, each once, for example --sm 8.6,8.9,12.0"
            )

        for entry in self.sm:
            family = refused_family("tensorrt_rtx", entry)
            if family is not None:
                raise UsageFault(
                    f"--sm {entry} is {family}, where TensorRT for RTX does not run",
                    needed="capabilities of desktop GPUs",
                    do="Leave --sm out; the device builds its own engine with TensorRT, out of swin-deploy bundle",
                )

    @property
    def quantized(self) -> tuple[str, ...]:
        """The grids that are asked for."""
        return tuple(name for name, wanted in (("int8", self.int8), ("fp8", self.fp8)) if wanted)

    def _check_quantization(self) -> None:
        if self.fp32_blocks and not (self.fp16 or self.bf16):
            raise UsageFault("--fp32-blocks without --fp16 or --bf16", needed="one of the two")
        if self.quantized and not (self.calib_data or self.calibration):
            raise UsageFault(
                f"--{self.quantized[0]} without --calib-data",
                needed="real images to calibrate on: random ones give ranges that mean nothing",
                do="Give --calib-data DIR with some hundred training images",
            )
        if "none" in self.calib_tools and len(self.calib_tools) > 1:
            raise UsageFault(f"--calib-tools {','.join(self.calib_tools)}", needed="none alone, or tools without it")
        given = [
            option
            for option, value in (
                ("--calib-data", self.calib_data),
                ("--calibration", self.calibration),
                ("--exclude", self.exclude),
                ("--precision-plan", self.precision_plan),
                ("--search", self.search),
            )
            if value
        ]
        if given and not self.quantized:
            raise UsageFault(f"{given[0]} without --int8", needed="--int8 or --fp8", do=f"Add one, or drop {given[0]}")
        if self.calibration and len(self.quantized) > 1:
            raise UsageFault("--calibration with --int8 and --fp8", needed="one of the two: each has its own file")
        if self.search and self.calibration:
            raise UsageFault(
                "--search with --calibration", needed="--calib-data: a plan is searched over fresh solutions"
            )
        if self.search and self.precision_plan:
            raise UsageFault("--search with --precision-plan", needed="one of the two: a search writes a plan")
        if self.search and not self.eval_data:
            raise UsageFault("--search without --eval-data", needed="labelled images: plans are chosen on half of them")
        if self.placement == "linears-and-attention" and (self.search or self.exclude or self.precision_plan):
            raise UsageFault(
                "--placement linears-and-attention with --search, --exclude or --precision-plan",
                needed="all linears in it: engines do not fuse an attention in INT8 behind a linear in float",
            )
        if self.timings and not self.search:
            raise UsageFault("--timings without --search", needed="--search, which weighs plans by them")

    def _check_numbers(self) -> None:
        # A margin of NaN, which is in no range, would call every drop INCONCLUSIVE, an infinite one every drop PASS.
        if not 0 <= self.max_drop <= 100:
            raise UsageFault(f"--max-drop {self.max_drop}", needed="percentage points, from 0 to 100")
        if not 0 <= self.max_psnr_drop <= 100:
            raise UsageFault(f"--max-psnr-drop {self.max_psnr_drop}", needed="dB, from 0 to 100")
        for option, count in (
            ("--calib-images", self.calib_images),
            ("--eval-images", self.eval_images),
            ("--seed", self.seed),
        ):
            if count < 0:
                raise UsageFault(f"{option} {count}", needed="0 or more")
        if not 0 <= self.int8_share <= 1:
            raise UsageFault(f"--int8-share {self.int8_share}", needed="a share, from 0 to 1")
        if not 1 <= self.calib_seeds <= 100:
            raise UsageFault(f"--calib-seeds {self.calib_seeds}", needed="from 1 to 100")
        for option, size in (
            ("--image-size", self.image_size),
            ("--window", self.window),
            *(("--pretrained-window", size) for size in self.pretrained_window or ()),
        ):
            if size is not None and min(size) < 1:
                raise UsageFault(f"{option} {size[0]}x{size[1]}", needed="height and width of at least 1")

    def _check_paths(self) -> None:
        for path in (getattr(self, name) for name in _PATHS):
            try:
                (path or "").encode()
            except UnicodeEncodeError:
                raise UsageFault(
                    f"the path {path!a} is not in UTF-8",
                    needed="a name that the recipe and the manifest of the run can hold",
                    do="Rename it, or give a link to it",
                ) from None

    def inputs(self) -> tuple[str, ...]:
        """Every file and folder that is read."""
        return tuple(getattr(self, name) for name in _PATHS if getattr(self, name))

    def loading(self) -> dict[str, Any]:
        """The options of `load_checkpoint`, which are also the fields of the load stage."""
        names = ("dialect", "image_size", "window", "pretrained_window", "task", "out_stages", "attention")
        return {name: getattr(self, name) for name in (*names, "image_range", "ema")}

    def to_toml(self) -> str:
        """As a TOML document; options that are not set are left out."""
        lines = ["# Reproduces a run: swin-deploy build --recipe FILE"]
        for key, value in asdict(self).items():
            if value is not None:
                # A JSON string, number, boolean or array of these is written the same way in TOML, except that TOML
                # knows no escaped surrogate pairs and wants DEL escaped.
                text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
                lines.append(f"{key} = {text}")
        return "\n".join(lines) + "\n"

    def resolved(self) -> Recipe:
        """The same recipe with absolute paths, so that it can be run from anywhere."""
        absolute = {key: str(Path(getattr(self, key)).absolute()) for key in _PATHS if getattr(self, key) is not None}
        return Recipe(**{**asdict(self), **absolute})


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a TOML recipe into keyword arguments of `Recipe`; relative paths are relative to the recipe.

    Raises:
        BadInput: the file is missing, no TOML, or has an unknown key or a value of the wrong kind.
    """
    tomllib = _toml_reader()
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"recipe {path} cannot be read: {error}", needed="a TOML file of build options") from error
    known = {field.name: str(field.type) for field in fields(Recipe)}
    unknown = sorted(set(raw) - set(known))
    if unknown:
        raise BadInput(f"recipe {path}: unknown option {', '.join(unknown)}", needed="one of " + ", ".join(known))
    return {key: _value(path, key, known[key], value) for key, value in raw.items()}


def _value(path: Path, key: str, kind: str, value: Any) -> Any:
    fits: Mapping[str, Any] = {
        "bool": lambda: isinstance(value, bool),
        "int": lambda: isinstance(value, int) and not isinstance(value, bool),
        "float": lambda: _is_number(value),
        "str": lambda: isinstance(value, str),
        "tuple[str, ...]": lambda: isinstance(value, list) and all(isinstance(entry, str) for entry in value),
        "tuple[int, int, int]": lambda: _whole_numbers(value, 3),
        "Size": lambda: _whole_numbers(value, 2),
        "Sizes": lambda: isinstance(value, list) and all(_whole_numbers(entry, 2) for entry in value),
        "Stages": lambda: isinstance(value, list) and _whole_numbers(value, len(value)),
        "Triple": lambda: isinstance(value, list) and len(value) == 3 and all(map(_is_number, value)),
    }
    base = kind.removesuffix(" | None")
    if not fits[base]():
        raise BadInput(f"recipe {path}: {key} = {value!r}", needed=f"a value of the kind {kind}")
    if key in _PATHS:
        if not value:
            raise BadInput(f"recipe {path}: {key} is empty", needed="a path, or no such line")
        return str(path.parent.absolute() / value)
    if isinstance(value, list):
        return tuple(tuple(entry) if isinstance(entry, list) else entry for entry in value)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole_numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(entry, int) and not isinstance(entry, bool) for entry in value)
    )


def _toml_reader() -> Any:
    import importlib

    try:
        return importlib.import_module("tomllib")
    except ModuleNotFoundError:  # Python 3.10, where the package tomli is installed instead
        return importlib.import_module("tomli")
