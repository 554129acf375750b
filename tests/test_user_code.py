"""Code of the user's own is found from the current folder, as long as it is asked for and no longer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from swin_deploy.atomic import file_sha256
from swin_deploy.errors import BadInput
from swin_deploy.model.forms import save_reference
from swin_deploy.model.variants.registry import find_variant
from swin_deploy.stages.load import Load
from swin_deploy.user_code import code_fingerprint, current_folder_first, import_user_module
from tests.random_swin import random_reference, small_spec

ATTENTION = """
from torch import nn

class Mean(nn.Module):
    def __init__(self, spec, geometry):
        super().__init__()

    def forward(self, x):
        return x
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with modules of names that nobody has, gone from memory afterwards."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("user_"):
            del sys.modules[name]


def test_a_module_of_the_current_folder_is_found_and_the_path_is_as_before(folder: Path) -> None:
    (folder / "user_alone.py").write_text("import user_beside\nvalue = user_beside.value\n")
    (folder / "user_beside.py").write_text("value = 7\n")
    before = list(sys.path)
    assert import_user_module("user_alone").value == 7
    assert sys.path == before
    # The control: Python alone does not find it.
    done = subprocess.run(
        [sys.executable, "-P" if sys.version_info >= (3, 11) else "-I", "-c", "import user_alone"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No module named 'user_alone'" in done.stderr


def test_a_module_in_a_package_without_init_is_found(folder: Path) -> None:
    (folder / "user_package" / "inner").mkdir(parents=True)
    (folder / "user_package" / "inner" / "made.py").write_text("value = 8\n")
    assert import_user_module("user_package.inner.made").value == 8


def test_the_path_is_as_before_after_a_failure_and_after_code_that_changes_it(folder: Path) -> None:
    before = list(sys.path)
    with pytest.raises(ZeroDivisionError), current_folder_first():
        assert sys.path[0] == str(folder)
        raise ZeroDivisionError
    assert sys.path == before
    with current_folder_first():
        sys.path.remove(str(folder))
    assert sys.path == before


def test_a_module_that_is_younger_than_the_last_look_is_found(folder: Path) -> None:
    with pytest.raises(ModuleNotFoundError):
        import_user_module("user_late")
    (folder / "user_late.py").write_text("")
    import_user_module("user_late")


def test_an_attention_of_the_current_folder_is_found(folder: Path) -> None:
    with pytest.raises(BadInput, match="cannot be imported"):
        find_variant("user_attention:Mean")
    (folder / "user_attention.py").write_text(ATTENTION)
    find_variant("user_attention:Mean")


def test_the_current_folder_does_not_replace_our_own_packages(folder: Path) -> None:
    import calib

    (folder / "calib").mkdir()
    (folder / "calib" / "__init__.py").write_text("raise SystemExit('theirs')\n")
    (folder / "user_asks.py").write_text("import calib\nplace = calib.__path__\n")
    assert import_user_module("user_asks").place == calib.__path__


# The fingerprint


def test_the_fingerprint_follows_the_module_and_what_it_imports_from_beside_it(folder: Path) -> None:
    (folder / "user_top.py").write_text("import user_part\n")
    (folder / "user_part.py").write_text("width = 1\n")
    (folder / "user_not_imported.py").write_text("width = 1\n")
    first = code_fingerprint("user_top")
    (folder / "user_not_imported.py").write_text("width = 2\n")
    assert code_fingerprint("user_top") == first
    (folder / "user_part.py").write_text("width = 2\n")
    second = code_fingerprint("user_top")
    (folder / "user_top.py").write_text("import user_part  # now\n")
    assert len({first, second, code_fingerprint("user_top")}) == 3


def test_the_fingerprint_of_a_package_is_of_the_whole_package_and_not_of_its_neighbours(folder: Path) -> None:
    (folder / "user_whole").mkdir()
    for name in ("__init__", "model", "blocks"):
        (folder / "user_whole" / f"{name}.py").write_text("")
    (folder / "user_whole" / "model.py").write_text("import user_whole.blocks\nimport user_neighbour\n")
    (folder / "user_neighbour.py").write_text("")
    first = code_fingerprint("user_whole.model")
    (folder / "user_neighbour.py").write_text("# changed")
    assert code_fingerprint("user_whole.model") == first
    (folder / "user_whole" / "blocks.py").write_text("# changed")
    assert code_fingerprint("user_whole.model") != first


def test_of_what_is_installed_the_package_alone_counts_and_what_cannot_be_imported_is_unknown(folder: Path) -> None:
    assert len(code_fingerprint("click.core")) == 64
    assert code_fingerprint("typing_extensions") == code_fingerprint("typing_extensions")
    assert code_fingerprint("user_nowhere") == "unknown"
    (folder / "user_exits.py").write_text("raise SystemExit(3)\n")
    assert code_fingerprint("user_exits") == "unknown"
    assert code_fingerprint("sys") == "unknown"  # it has no file


def test_a_change_of_an_own_attention_makes_everything_run_again(folder: Path) -> None:
    (folder / "user_attention.py").write_text(ATTENTION)
    spec = small_spec("v1", depths=(2,), heads=(2,), attention="user_attention:Mean")
    seen = []
    for name in ("a", "b", "c"):
        save_reference(random_reference(spec), folder / name)
        seen.append((Load(attention=spec.attention).tools()["attention"], file_sha256(folder / name)))
        if name == "b":
            (folder / "user_attention.py").write_text(ATTENTION.replace("return x", "return 2 * x"))
    assert seen[0] == seen[1]
    assert not set(seen[1]) & set(seen[2])
    # The control: of a shipped one there is no such thing.
    assert "attention" not in Load(attention="linformer").tools()
