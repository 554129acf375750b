"""docs/variants.md is run: every snippet, what it says they print, and its tables of keys."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from swin_deploy.model.variants.registry import SHIPPED, find_variant
from tests.model.variants.cases import GEOMETRIES, V1_STAGE

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "variants.md").read_text(encoding="utf-8")


def test_every_snippet_runs_and_prints_what_stands_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", TEXT, flags=re.DOTALL)
    assert len(found) == TEXT.count("```python") == 4
    (module, _), *snippets = found
    assert "A file\n`my_attention.py`:" in TEXT
    (tmp_path / "my_attention.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    namespace: dict[str, object] = {}
    for number, (code, wanted) in enumerate(snippets):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, f"variants.md, snippet {number}", "exec"), namespace)
        assert out.getvalue() == wanted


def test_its_table_names_each_variant_with_its_keys_and_families() -> None:
    rows = {cells[1].strip(" `"): cells for line in TEXT.splitlines() if len(cells := line.split("|")) == 7}
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    documented = " ".join(re.findall(r"`([^`\n]+)`", prose))
    for name, families in SHIPPED.items():
        assert rows[name][5].strip() == ", ".join(family.upper() for family in families)
        for key in find_variant(name)(V1_STAGE, GEOMETRIES["plain"]).state_dict():
            stem = "gate.norm" if key.startswith("gate.norm.") else key
            assert stem in documented, f"{name}: {key} is not documented"
            if not key.startswith(("qkv", "proj", "gate")) and name != "channel-gate":
                assert f"`{key}`" in rows[name][3]
