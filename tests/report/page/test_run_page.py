"""The page of a run: whole, in one file, with the decision on top, and hostile to hostile names."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swin_deploy.manifest import Manifest
from swin_deploy.parity.gates import Verdict
from swin_deploy.report.finish_file import Finish, read_finish
from swin_deploy.report.page.document import Note, Page
from swin_deploy.report.page.render import rendered
from swin_deploy.report.page.run_page import run_page
from tests.report.example_run import LOST, backbone_run, example_run, restoration_run
from tests.report.full_run import full_run, write_finish
from tests.report.page.balanced_html import Balanced
from tests.report.test_ledger import unlabelled

HOSTILE = "<script>alert('x')</script>\"&'><b>{{ 7 * 7 }}"


@pytest.fixture(scope="module")
def failed_finish(tmp_path_factory: pytest.TempPathFactory) -> Finish:
    return read_finish(write_finish(tmp_path_factory.mktemp("finish") / "finish.json", failed=True))


@pytest.fixture(scope="module")
def full(failed_finish: Finish) -> str:
    return run_page(full_run(), [failed_finish])


def section(page: str, name: str) -> str:
    return page.split(f'<section id="{name}"', 1)[1].split("</section>", 1)[0]


def text_of(page: str) -> str:
    return " ".join(Balanced(page).texts)


def not_executed() -> Manifest:
    """Nothing ran but the oracle."""
    made = example_run()
    steps = tuple(
        replace(step, rows=tuple(replace(row, verdict=Verdict.SKIPPED, measurement=None) for row in step.rows))
        for step in made.steps[2:4]
    )
    return replace(made, steps=(made.steps[0], *steps, made.steps[-1]), status=0, verdict="PASS", recommendation="")


MANIFESTS = {
    "example": example_run,
    "full": full_run,
    "nothing executed": not_executed,
    "no steps": lambda: replace(example_run(), steps=(), status=None, verdict="not finished"),
    "backbone": backbone_run,
    "restoration": restoration_run,
    "restoration with pictures": lambda: restoration_run(LOST),
    "synthetic": lambda: unlabelled("synthetic"),
    "unlabelled": lambda: unlabelled("images"),
}


@pytest.mark.parametrize("make", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_every_run_gives_a_sound_page_in_one_small_file(make) -> None:  # type: ignore[no-untyped-def]
    page = run_page(make())
    found = Balanced(page)
    assert found.faults == []
    assert all(reference.startswith("#") for reference in found.references)
    assert found.opened["script"] == found.opened["link"] == found.opened["img"] == 0
    assert not re.search(r"url\((?!#)|@import|https?://", page)
    assert len(page.encode()) < 400_000
    assert found.opened["h1"] == 1 and found.opened["title"] >= 1


def test_pages_with_device_results_are_sound_too(full: str) -> None:
    assert Balanced(full).faults == []


def test_the_decision_comes_first(full: str) -> None:
    top = full[: full.index("<nav")]
    assert "Recommended: INT8" in top and "exit status 0" in top
    assert re.search(r'<span class="badge pass">PASS</span>', top)
    assert full.index('id="decision"') < full.index('id="ledger"')


def test_what_was_not_executed_is_said_on_top_and_in_a_section_of_its_own(full: str) -> None:
    assert re.search(r'<span class="badge skipped">4 SKIPPED</span>', full[: full.index("<nav")])
    told = text_of(section(full, "skipped"))
    assert "compiled: no C++ compiler" in told and "fp16-engine (engine)" in told


def test_a_run_without_anything_skipped_has_no_such_section() -> None:
    made = example_run()
    page = run_page(replace(made, steps=made.steps[2:3]))
    assert 'id="skipped"' not in page and 'class="badge skipped"' not in page


def test_what_is_skipped_is_nowhere_passed() -> None:
    page = run_page(not_executed())
    rows = re.findall(r"<tr>.*?</tr>", section(page, "ledger"), re.DOTALL)
    skipped = [row for row in rows if "SKIPPED" in row]
    assert len(skipped) == 3 and not any("PASS" in row for row in skipped)
    assert "NOT MEASURED" in text_of(section(page, "accuracy"))


def test_a_failed_run_is_marked_so() -> None:
    top = run_page(example_run()).split("<nav")[0]
    assert '<span class="badge fail">FAIL</span>' in top and "badge pass" not in top


def test_a_device_that_refused_an_engine_overrules_the_recommendation(full: str) -> None:
    top = full[: full.index("<nav")]
    assert '<span class="badge fail">FAIL on Imagined Orin</span>' in top
    decision = text_of(section(full, "decision"))
    assert "INT8 (refused on Imagined Orin)" in decision and "INT8 (recommended)" not in decision
    assert "INT8 (recommended)" in text_of(section(run_page(full_run()), "decision"))


def test_the_ledger_tells_what_each_step_made(full: str) -> None:
    ledger = section(full, "ledger")
    row = next(row for row in re.findall(r"<tr>.*?</tr>", ledger, re.DOTALL) if ">fp16<" in row)
    assert re.findall(r"<td[^>]*>([^<]*)</td>", row)[1:4] == ["66.0", "72.0", "30 %"]


def test_every_table_has_a_caption_heads_with_a_scope_and_full_rows(full: str) -> None:
    for table in re.findall(r"<table.*?</table>", full, re.DOTALL):
        assert "<caption>" in table
        heads = len(re.findall(r'<th scope="col"', table))
        for row in re.findall(r"<tr>.*?</tr>", table.split("<tbody>")[1], re.DOTALL):
            assert len(re.findall(r"<t[dh]", row)) == heads
            assert row.count('<th scope="row"') == 1


def test_numbers_are_set_to_the_right(full: str) -> None:
    for number in ("66.0", "30 %", "+0.05 (&lt; +0.45)"):
        assert re.search(rf'<td class="number">{re.escape(number)}</td>', section(full, "ledger")), number


def test_intervals_are_drawn_with_their_margin(full: str) -> None:
    accuracy = section(full, "accuracy")
    assert "margin 1" in accuracy and "<svg" in accuracy
    assert "< +0.70" not in text_of(accuracy)  # the table has lower and upper apart
    assert "+0.70" in text_of(accuracy)


def test_a_dense_run_is_measured_in_its_own_unit() -> None:
    told = text_of(run_page(restoration_run(LOST)))
    assert "drop in PSNR-Y, dB" in told and "points" not in told and "top-1" not in told
    told = text_of(run_page(backbone_run()))
    assert "stage2" in told and "agree %" not in told


def test_times_are_drawn_or_the_command_that_measures_them_is_told(full: str) -> None:
    assert "<svg" in section(full, "latency")
    told = text_of(section(run_page(replace(full_run(), speed=None)), "latency"))
    assert "NOT MEASURED" in told
    assert "swin-deploy bench --record RUN/fp16.rtx.plan RUN/int8.rtx.plan RUN/fp8.rtx.plan" in told


def test_what_a_benchmark_skipped_is_said(full: str) -> None:
    assert "SKIPPED torch.compile of the checkpoint" in text_of(section(full, "latency"))


def test_a_modelled_time_is_called_so_and_stands_apart(full: str) -> None:
    told = text_of(section(full, "front"))
    assert "Measured on Imagined GPU" in told
    assert "No engine was timed: the time is MODELLED, by a roofline over the linears" in told
    without = text_of(section(run_page(replace(full_run(), speed=None)), "front"))
    assert "Measured" not in without and "MODELLED" in without


def test_a_search_that_took_its_first_plan_needs_no_picture() -> None:
    made = full_run()
    search = dict(made.steps[5].facts["search"])
    search["plan"] = {**search["plan"], "steps": [{**search["plan"]["steps"][0], "kept": True}]}
    alone = replace(made, speed=None, steps=(replace(made.steps[5], facts={"search": search}),))
    front = section(run_page(alone), "front")
    assert "first plan" in front and "<svg" not in front and "(found)" in front


def test_a_drop_that_was_not_judged_is_greyed_and_said_to_be_so(full: str) -> None:
    made = full_run()
    unjudged = tuple(replace(step, rows=tuple(replace(row, judgements=()) for row in step.rows)) for step in made.steps)
    told = section(run_page(replace(made, steps=unjudged)), "decision")
    assert "was not judged" in told and '<td class="number quiet">+0.30</td>' in told
    assert "was not judged" not in section(full, "decision")


def test_a_run_without_times_and_search_has_no_front() -> None:
    assert 'id="front"' not in run_page(example_run())


def test_the_blocks_are_a_map_of_heat_with_a_row_a_precision(full: str) -> None:
    blocks = section(full, "blocks")
    rows = re.findall(r"<tr>.*?</tr>", blocks.split("<tbody>")[1], re.DOTALL)
    assert len(rows) == 2 and all(len(re.findall(r"<td", row)) == 12 for row in rows)
    shades = [int(shade) for shade in re.findall(r"heat-(\d)", rows[0])]
    assert shades == sorted(shades) and shades[0] < shades[-1]
    assert "most" in rows[0]


def test_the_audit_has_products_by_type_and_the_checks(full: str) -> None:
    audit = section(full, "audit")
    heads = re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', audit)
    assert [head for head in heads if head.startswith("in ")] == ["in INT8", "in FP8", "in FP16"]
    told = text_of(audit)
    assert "SM 8.6, 8.9" in told and "SM 12.0" in told  # the same kernels in one row, others in their own
    assert "every product that was asked for reads int8" in told


def test_an_engine_whose_layers_were_not_listed_is_named() -> None:
    made = full_run()
    silent = replace(made.steps[4], facts={"kernels": {}})
    page = run_page(replace(made, steps=(*made.steps[:4], silent)))
    assert "NOT LISTED: fp16.rtx.plan" in text_of(section(page, "audit"))


def hostile_run() -> Manifest:
    made = full_run()
    step = replace(
        made.steps[2],
        artifact=HOSTILE,
        facts={HOSTILE: HOSTILE},
        notes=(HOSTILE,),
        tools={HOSTILE: HOSTILE},
        rows=tuple(replace(row, label=HOSTILE, backend=HOSTILE, reason=HOSTILE) for row in made.steps[2].rows),
    )
    skipped = replace(made.steps[1], skipped=HOSTILE, artifact=HOSTILE)
    speed: dict[str, Any] = dict(made.speed or {})
    speed["lines"] = [{**line, "artifact": HOSTILE, "backend": HOSTILE} for line in speed["lines"]]
    return replace(
        made,
        steps=(made.steps[0], skipped, step, *made.steps[3:]),
        checkpoint={**made.checkpoint, "file": HOSTILE},
        machine={HOSTILE: HOSTILE},
        verdict=HOSTILE,
        target=HOSTILE,
        recipe={**made.recipe, "checkpoint": HOSTILE, HOSTILE: HOSTILE},
        speed=speed,
    )


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    path = write_finish(tmp_path / "finish.json", name=HOSTILE, failed=True)
    page = run_page(hostile_run(), [read_finish(path)])
    found = Balanced(page)
    assert found.faults == []
    assert found.opened["script"] == found.opened["b"] == 0
    assert "<script" not in page
    assert page.count("{{ 7 * 7 }}") > 10 and "alert('x')" in found.text  # shown as it is, and evaluated by nobody


def test_the_check_of_hostile_names_would_notice_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: without escaping the same page is broken."""
    import jinja2

    class Careless(jinja2.Environment):
        def __init__(self, **options: Any) -> None:
            super().__init__(**{**options, "autoescape": False})

    monkeypatch.setattr(jinja2, "Environment", Careless)
    found = Balanced(run_page(hostile_run()))
    assert found.opened["script"] > 0


def test_without_matplotlib_the_page_says_so_and_keeps_its_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Balanced(run_page(full_run()))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))
    page = run_page(full_run())
    after = Balanced(page)
    assert "swin-deploy[report]" in after.text and "<svg" not in page
    assert after.opened["table"] == before.opened["table"] and after.faults == []


def test_the_same_run_gives_the_same_page() -> None:
    assert run_page(full_run()) == run_page(full_run())


def test_an_unfinished_run_is_called_so() -> None:
    page = run_page(replace(example_run(), status=None, verdict="not finished"))
    assert "NOT FINISHED" in page.split("<nav")[0] and "badge pass" not in page.split("<nav")[0]


def test_what_stands_between_backticks_is_code_and_nothing_of_a_note_is_markup() -> None:
    page = Page("t", "t", (), (Note("run `a <b>` or <i>`"),), ())
    text = rendered(page)
    assert "run `a &lt;b&gt;` or &lt;i&gt;`" in text  # three backticks: no pairs
    assert "run <code>a &lt;b&gt;</code> or &lt;i&gt;" in rendered(replace(page, lead=(Note("run `a <b>` or <i>"),)))
