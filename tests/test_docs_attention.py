"""docs/attention.md is run: every snippet, what it says they print, its table of rules, and its pictures."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from swin_deploy.model import windows
from swin_deploy.model.geometry import RULES

DOCS = Path(__file__).resolve().parents[1] / "docs"
TEXT = (DOCS / "attention.md").read_text(encoding="utf-8")
MISREADINGS = TEXT.partition("## Common misreadings")[2]


def fences(text: str) -> list[tuple[str, str]]:
    """Each Python fence, with the text fence that stands right below it, or nothing."""
    found = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", text, flags=re.DOTALL)
    assert len(found) == text.count("```python")
    return found


def run(text: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Run the snippets of `text` from top to bottom: their names, and what each printed beside what it should print."""
    namespace: dict[str, Any] = {}
    printed = []
    for number, (code, wanted) in enumerate(fences(text)):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, f"attention.md, snippet {number}", "exec"), namespace)
        printed.append((out.getvalue(), wanted))
    return namespace, printed


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return run(TEXT)[0]


def misreadings() -> dict[str, str]:
    """Each misreading's section by its title."""
    parts = re.split(r"^### (.*)$", MISREADINGS, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_snippet_runs_and_prints_what_stands_below_it() -> None:
    assert len(fences(TEXT)) >= 12
    for got, wanted in run(TEXT)[1]:
        assert got == wanted


def test_a_snippet_that_prints_something_else_would_be_noticed() -> None:
    spoiled = TEXT.replace("padded first: 0", "padded first: 1")
    assert spoiled != TEXT
    assert [got == wanted for got, wanted in run(spoiled)[1]].count(False) == 1


def test_its_check_accepts_the_mask_in_both_conventions(document: dict[str, Any]) -> None:
    assert document["check"](windows.shift_mask) is None
    assert document["check"](functools.partial(windows.shift_mask, value=-np.inf)) is None


def test_its_brute_force_is_the_mask_on_geometries_that_it_does_not_name(document: dict[str, Any]) -> None:
    for geometry in (((5, 5), (2, 3), (1, 2)), ((7, 3), (3, 5), (2, 0)), ((4, 4), (1, 2), (0, 1))):
        assert np.array_equal(document["may_attend"](*geometry), windows.shift_mask(*geometry) == 0)


def test_the_misreadings_are_those_that_it_sets_right() -> None:
    assert list(misreadings()) == [
        "A mask built from one window with two slices",
        "A mask multiplied into the scores",
        '"Global attention between windows"',
        '"Look-ahead masks in Swin"',
    ]


@pytest.mark.parametrize("title", list(misreadings()))
def test_each_wrong_mask_fails_the_brute_force(title: str) -> None:
    namespace, _ = run(TEXT.partition("## Common misreadings")[0])
    checked: list[str | None] = []
    right: Callable[..., str | None] = namespace["check"]

    def watched(*arguments: Any, **options: Any) -> str | None:
        checked.append(right(*arguments, **options))
        return checked[-1]

    namespace["check"] = watched
    masks = []
    for code, _ in fences(misreadings()[title]):
        exec(code, namespace)
        if "def wrong_mask" in code:
            masks.append(namespace["wrong_mask"])
    assert masks
    assert len(checked) >= len(masks)
    assert all(counterexample is not None for counterexample in checked)
    combine = np.multiply if "multiplied" in title else np.add
    for mask in masks:
        assert right(mask, combine=combine) is not None
    assert right(namespace["shift_mask"]) is None


def test_its_table_of_rules_is_the_table_in_force() -> None:
    head = "| rule | window larger than the map |"
    assert TEXT.count(head) == 1
    said = [line for line in TEXT.partition(head)[2].partition("\n\n")[0].splitlines() if line.startswith("| `")]
    assert said == [
        f"| `{name}` | `{rule.clip}` | `{rule.unshifted}` | `{rule.pad}` | {'pad' if rule.odd_maps else 'refuse'} "
        f"| `{rule.partial_patches}` | {rule.mask_value:g} |"
        for name, rule in RULES.items()
    ]


def test_it_says_how_to_import_the_public_functions() -> None:
    assert "from swin_deploy.model.windows import shift_mask, padding_mask, window_order" in fences(TEXT)[0][0]
    assert {"shift_mask", "padding_mask", "window_order"} <= set(windows.__all__)


def test_files_and_pictures_that_it_names_exist() -> None:
    named = re.findall(r"`((?:docs|swin_deploy|tests)/[\w/.]+)`", TEXT)
    assert named
    for path in named:
        assert (DOCS.parent / path).exists(), path
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    assert sorted(shown) == sorted(f"pictures/{path.name}" for path in (DOCS / "pictures").iterdir())


@pytest.fixture
def artist() -> ModuleType:
    """docs/draw_attention.py, fresh, so that a test may change it."""
    spec = importlib.util.spec_from_file_location("draw_attention", DOCS / "draw_attention.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclass looks itself up by name.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "draw_attention", module)
        spec.loader.exec_module(module)
    return module


def test_the_pictures_are_what_the_script_draws_now(artist: ModuleType) -> None:
    drawn = artist.pictures()
    assert drawn == {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "pictures").iterdir()}
    assert drawn == artist.pictures()
    for text in drawn.values():
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"


def test_the_script_writes_these_files(artist: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artist, "FOLDER", tmp_path / "pictures")
    artist.main()
    for path in (DOCS / "pictures").iterdir():
        assert (tmp_path / "pictures" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "wrong", "changed"),
    [
        ("shift_mask", lambda *geometry: np.zeros((4, 16, 16)), {"masks.svg"}),
        ("window_regions", lambda *geometry: np.zeros((4, 16), dtype=np.int64),
         {"windows.svg", "roll.svg", "masks.svg", "padding.svg"}),
    ],
)  # fmt: skip
def test_pictures_are_drawn_from_the_toolkits_own_functions(
    artist: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, wrong: Any, changed: set[str]
) -> None:
    before = artist.pictures()
    monkeypatch.setattr(artist, name, wrong)
    after = artist.pictures()
    assert {picture for picture in before if before[picture] != after[picture]} == changed
