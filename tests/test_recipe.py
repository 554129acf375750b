"""A recipe says the same as the options, survives its own file, and refuses what contradicts itself."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.recipe import Recipe, read_recipe
from swin_deploy.stages.load import Load

FULL = Recipe(
    checkpoint="/models/swin.pth",
    fp16=True,
    bf16=True,
    int8=True,
    fp8=True,
    fp32_blocks=("blocks.3", "head"),
    calib_data="/data/calibration",
    calib_images=500,
    calib_method="min-max",
    calib_tools=("repq", "bias"),
    calib_seeds=5,
    placement="no-fc2",
    exclude=(r"^blocks\.0\.", "merge"),
    search=True,
    int8_share=0.95,
    timings="/data/timings.csv",
    eval_data="/data/evaluation.npz",
    eval_images=2000,
    compile=False,
    fused=False,
    target="rtx",
    sm=("8.9",),
    batch=(2, 4, 16),
    profile=("strong", "trt86", "trt85"),
    dialect="timm",
    task="backbone",
    out_stages=(1, 3),
    attention="linformer",
    image_range=255.0,
    ema=True,
    image_size=(224, 192),
    window=(7, 8),
    pretrained_window=((12, 12), (6, 6)),
    resize="shorter-side",
    interpolation="bilinear",
    resampler="pillow",
    crop_pct=0.875,
    mean=(0.5, 0.25, 0.125),
    std=(0.25, 0.5, 1.0),
    max_drop=0.25,
    max_psnr_drop=0.05,
    require=("engine", "accuracy"),
    seed=7,
)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_full_recipe_above_differs_from_the_default_in_every_field() -> None:
    default = Recipe("other")
    same = {field.name for field in fields(Recipe) if getattr(FULL, field.name) == getattr(default, field.name)}
    assert same == {"model", "calibration", "precision_plan"}  # which exclude some of the others


REUSING = Recipe("/a.pth", int8=True, calibration="/b.npz", precision_plan="/c.plan", calib_tools=())


@pytest.mark.parametrize(
    "recipe", [FULL, REUSING, Recipe("/models/swin.pth"), Recipe("/models/own.pth", model="own:make")]
)
def test_every_field_survives_the_file(tmp_path: Path, recipe: Recipe) -> None:
    assert Recipe(**read_recipe(written(tmp_path, recipe.to_toml()))) == recipe


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.floats(0, 100),
)
def test_any_path_and_margin_survive_the_file(tmp_path_factory: pytest.TempPathFactory, name: str, drop: float) -> None:
    recipe = Recipe("/" + name, max_drop=drop)
    path = written(tmp_path_factory.getbasetemp(), recipe.to_toml())
    found = read_recipe(path)
    assert Path(found["checkpoint"]) == Path(recipe.checkpoint)
    assert found["max_drop"] == drop


@pytest.mark.parametrize("name", ["Grün", "\U0001f600", 'a"b\\c', "a\tb\x7f", "line\nbreak"])
def test_unusual_names_survive_the_file(tmp_path: Path, name: str) -> None:
    assert read_recipe(written(tmp_path, Recipe(f"/{name}").to_toml()))["checkpoint"] == f"/{name}"


def test_relative_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    path = written(tmp_path, 'checkpoint = "models/a.pth"\neval_data = "../images"\ncalib_data = "/else/where"\n')
    found = read_recipe(path)
    assert found == {
        "checkpoint": str(tmp_path / "models/a.pth"),
        "eval_data": str(tmp_path / "../images"),
        "calib_data": "/else/where",
    }


def test_a_relative_recipe_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, 'checkpoint = "a.pth"\n')
    monkeypatch.chdir(tmp_path)
    assert read_recipe(Path("recipe.toml")) == {"checkpoint": str(tmp_path / "a.pth")}


def test_a_resolved_recipe_means_the_same_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = Recipe("a.pth", int8=True, calib_data="calib", eval_data=None)
    resolved = recipe.resolved()
    assert (resolved.checkpoint, resolved.calib_data, resolved.eval_data) == (
        str(tmp_path / "a.pth"),
        str(tmp_path / "calib"),
        None,
    )
    assert replace(resolved, checkpoint="a.pth", calib_data="calib") == recipe
    assert FULL.resolved() == FULL


def test_only_what_the_file_says_is_returned_so_that_options_can_fill_the_rest(tmp_path: Path) -> None:
    assert read_recipe(written(tmp_path, "fp16 = true\n")) == {"fp16": True}


def test_a_whole_number_does_for_the_margin(tmp_path: Path) -> None:
    assert read_recipe(written(tmp_path, "max_drop = 1\n")) == {"max_drop": 1}


@pytest.mark.parametrize(
    "line",
    [
        "fp16 = 1",
        'fp16 = "true"',
        "eval_images = 2.5",
        "eval_images = true",
        'max_drop = "1"',
        "max_drop = true",
        "checkpoint = 3",
        'checkpoint = ""',
        'eval_data = ""',
        'sm = "8.6"',
        "sm = [8.6]",
        "batch = [1, 8]",
        "batch = [1, 8, 32.0]",
        "batch = [1, 8, true]",
        "batch = 8",
        "image_size = 224",
        "image_size = [224, 224, 3]",
        "window = [7, 7.0]",
        "require = [1]",
        "seed = 1979-05-27",
        "[checkpoint]\npath = 'a'",
    ],
)
def test_a_value_of_the_wrong_kind_names_the_key_and_has_status_5(tmp_path: Path, line: str) -> None:
    with pytest.raises(BadInput, match=line.lstrip("[").split("]")[0].split(" ")[0]) as caught:
        read_recipe(written(tmp_path, line + "\n"))
    assert caught.value.exit_code == 5


def test_an_unknown_key_is_named_beside_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"unknown option fp_16, tagret\. Needed: one of checkpoint, fp16") as caught:
        read_recipe(written(tmp_path, "tagret = 'rtx'\nfp_16 = true\n"))
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("content", [b"fp16 = ", b"fp16 = true\nfp16 = true\n", b"\xff\xfe", b"checkpoint: a.pth\n"])
def test_a_file_that_is_no_toml_is_said_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "recipe.toml").write_bytes(content)
    with pytest.raises(BadInput, match=r"recipe .*recipe\.toml cannot be read") as caught:
        read_recipe(tmp_path / "recipe.toml")
    assert caught.value.exit_code == 5


def test_a_recipe_that_is_missing_or_a_folder_is_said_so(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(BadInput, match="cannot be read"):
            read_recipe(path)


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"batch": (0, 8, 32)}, "--batch 0,8,32"),
        ({"batch": (8, 1, 32)}, "--batch 8,1,32"),
        ({"batch": (1, 32, 8)}, "--batch 1,32,8"),
        ({"int8": True}, "--int8 without --calib-data"),
        ({"int8": True, "calib_data": ""}, "--int8 without --calib-data"),
        ({"fp8": True}, "--fp8 without --calib-data"),
        ({"fp32_blocks": ("head",)}, "--fp32-blocks without --fp16"),
        ({"calib_data": "x"}, "--calib-data without --int8"),
        ({"calibration": "x"}, "--calibration without --int8"),
        ({"exclude": ("x",)}, "--exclude without --int8"),
        ({"precision_plan": "x"}, "--precision-plan without --int8"),
        ({"search": True, "eval_data": "x"}, "--search without --int8"),
        ({"int8": True, "fp8": True, "calibration": "x"}, "--calibration with --int8 and --fp8"),
        ({"int8": True, "calibration": "x", "search": True, "eval_data": "y"}, "--search with --calibration"),
        (
            {"int8": True, "calib_data": "x", "search": True, "eval_data": "y", "precision_plan": "z"},
            "--search with --precision-plan",
        ),
        ({"int8": True, "calib_data": "x", "search": True}, "--search without --eval-data"),
        ({"int8": True, "calib_data": "x", "timings": "y"}, "--timings without --search"),
        ({"calib_method": "entropie"}, "--calib-method entropie"),
        ({"calib_tools": ("balance", "magic")}, "--calib-tools magic"),
        ({"calib_tools": ("none", "bias")}, "--calib-tools none,bias"),
        ({"placement": "everywhere"}, "--placement everywhere"),
        ({"calib_seeds": 0}, "--calib-seeds 0"),
        ({"calib_seeds": 101}, "--calib-seeds 101"),
        ({"target": "cuda"}, "--target cuda"),
        ({"require": ("engine", "speed")}, "--require speed"),
        ({"profile": ("trt84",)}, "--profile trt84"),
        ({"require": ("accuracy",)}, "--require accuracy without --eval-data"),
        ({"sm": ()}, "--sm"),
        ({"sm": ("8.6", "ampere")}, "--sm 8.6,ampere"),
        ({"sm": ("8.6", "8.7")}, "--sm 8.7 is Jetson Orin, where TensorRT for RTX does not run"),
        ({"max_drop": -0.1}, "--max-drop -0.1"),
        ({"max_drop": 100.5}, "--max-drop 100.5"),
        ({"max_drop": float("nan")}, "--max-drop nan"),
        ({"max_drop": float("inf")}, "--max-drop inf"),
        ({"eval_images": -1}, "--eval-images -1"),
        ({"calib_images": -1}, "--calib-images -1"),
        ({"seed": -1}, "--seed -1"),
        ({"image_size": (0, 224)}, "--image-size 0x224"),
        ({"window": (7, 0)}, "--window 7x0"),
        ({"pretrained_window": ((-1, 7),)}, "--pretrained-window -1x7"),
        ({"eval_data": "name-\udcff"}, "is not in UTF-8"),
        ({"int8": True, "calibration": "name-\udcff"}, "is not in UTF-8"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_loaded(options: dict[str, Any], seen: str) -> None:
    with pytest.raises(UsageFault) as caught:
        Recipe("a.pth", **options)
    assert seen in caught.value.seen
    assert caught.value.needed
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "options",
    [
        {"batch": (1, 1, 1)},
        {"batch": (8, 8, 8)},
        {"max_drop": 0.0},
        {"int8": True, "calib_data": "x"},
        {"int8": True, "calibration": "x"},
        {"fp8": True, "calib_data": "x", "calib_tools": ("none",), "calib_seeds": 1},
        {"int8": True, "fp8": True, "calib_data": "x", "exclude": ("a", "b")},
        {"int8": True, "calib_data": "x", "eval_data": "y", "search": True, "timings": "z"},
        {"require": ("engine",)},
        {"require": ("accuracy",), "eval_data": "x"},
        {"profile": ()},
    ],
)
def test_what_is_at_the_border_is_accepted(options: dict[str, Any]) -> None:
    recipe = Recipe("a.pth", **options)
    assert {key: asdict(recipe)[key] for key in options} == options


def test_a_contradiction_in_a_file_is_found_too(tmp_path: Path) -> None:
    values = read_recipe(written(tmp_path, 'checkpoint = "a"\nint8 = true\n'))
    with pytest.raises(UsageFault, match="--calib-data"):
        Recipe(**values)


@pytest.mark.parametrize(
    "options", [{"dialect": "timm"}, {"task": "backbone"}, {"attention": "linformer"}, {"window": (7, 7)}]
)
def test_a_network_of_ones_own_excludes_what_describes_a_known_one(options: dict[str, Any]) -> None:
    with pytest.raises(UsageFault, match="--model together with"):
        Recipe("own.pth", model="own:make", **options)
    assert Recipe("own.pth", model="own:make", image_size=(28, 28)).model == "own:make"


def test_what_loading_takes_are_the_fields_of_the_load_stage() -> None:
    assert Load(**FULL.loading()).attention == "linformer"
    assert set(FULL.loading()) == {field.name for field in fields(Load)} - {"name", "suffix"}
