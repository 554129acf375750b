"""The parity table: every dialect, family and task against its original implementation, in both forms.

timm, transformers and torchvision run in the test; the others' answers were recorded (tests/golden). Each row is read
as a user's file would be: from disk, with the dialect detected.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from swin_deploy.checkpoint.load import DIALECTS
from swin_deploy.errors import BadInput
from tests.checkpoint.parity_row import ParityRow, compare, loaded, misruled, spoiled, written

ROWS: list[ParityRow] = [
    row
    for file in sorted(Path(__file__).parent.glob("parity_rows_*.py"))
    for row in import_module(f"tests.checkpoint.{file.stem}").ROWS
]
COMPARED = [row for row in ROWS if not row.refused]
REFUSED = [row for row in ROWS if row.refused]
PARTS = sorted({(row.dialect, row.family, row.task) for row in COMPARED})
# Every dialect with its families and tasks; mmpretrain's V2 features are held in test_openmmlab.py, through its head.
TABLE = {
    "microsoft": ("v1 classification", "v1 backbone", "v2 classification", "v2 backbone"),
    "timm": ("v1 classification", "v1 backbone", "v2 classification", "v2 backbone"),
    "openmmlab": ("v1 classification", "v1 backbone", "v2 classification"),
    "torchvision": ("v1 classification", "v1 backbone", "v2 classification", "v2 backbone"),
    "huggingface": ("v1 classification", "v1 backbone", "v2 classification", "v2 backbone"),
    "swinir": ("v1 restoration",),
    "swin2sr": ("v2 restoration",),
    "huggingface-swin2sr": ("v2 restoration",),
}


@pytest.mark.parametrize("row", COMPARED, ids=str)
def test_both_forms_give_what_the_original_gives(row: ParityRow, tmp_path: Path) -> None:
    errors, padded = compare(row, row.original(), tmp_path)
    assert len(errors) == 4
    for (form, dtype), error in errors.items():
        assert error <= row.bound(dtype), f"{form} form in {dtype}: {error:.2e}"
    assert padded == row.padded


@pytest.mark.parametrize("part", PARTS, ids="-".join)
def test_the_comparison_sees_one_wrong_tensor(part: tuple[str, str, str], tmp_path: Path) -> None:
    row = next(row for row in COMPARED if (row.dialect, row.family, row.task) == part)
    assert spoiled(row, row.original(), tmp_path) > 1e-4


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("microsoft-v1-classification-exact", "microsoft-dense"),
        ("microsoft-v1-backbone-detection", "mmpretrain"),
        ("openmmlab-v1-classification-mmpretrain", "openmmlab-dense"),
        ("openmmlab-v2-classification-mmpretrain", "openmmlab-dense"),
        ("openmmlab-v1-backbone-mmdetection", "mmpretrain"),
        ("timm-v1-classification-maps_that_windows_do_not_cover", "huggingface"),
        ("timm-v2-classification-maps_that_windows_do_not_cover", "torchvision"),
    ],
)
def test_the_comparison_sees_another_code_bases_geometry(name: str, rule: str, tmp_path: Path) -> None:
    row = next(row for row in COMPARED if str(row) == name)
    assert misruled(row, row.original(), tmp_path, rule) > 1e-4


@pytest.mark.parametrize("row", REFUSED, ids=str)
def test_what_is_known_and_not_supported_is_refused_in_a_sentence(row: ParityRow, tmp_path: Path) -> None:
    original = row.original()
    with pytest.raises(BadInput) as caught:
        list(loaded(row, original, written(original, tmp_path)))
    assert row.refused in str(caught.value)
    assert caught.value.needed
    assert caught.value.do


@pytest.mark.parametrize("dialect", [dialect.name for dialect in DIALECTS])
def test_every_dialect_is_compared_at_a_padded_size(dialect: str) -> None:
    assert any(row.padded for row in COMPARED if row.dialect == dialect)


def test_the_table_is_whole() -> None:
    assert {dialect.name for dialect in DIALECTS} == TABLE.keys()
    assert {(name, *part.split()) for name, parts in TABLE.items() for part in parts} == set(PARTS)


def test_rows_have_names_of_their_own() -> None:
    assert len({str(row) for row in ROWS}) == len(ROWS)
