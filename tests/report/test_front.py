"""Fronts: by hand, and measured times never beside modelled ones."""

from __future__ import annotations

from dataclasses import replace

from swin_deploy.manifest import Manifest
from swin_deploy.report.front import TimedRun, measured_fronts, modelled_front
from swin_deploy.report.measured_times import latency_lines
from tests.report.example_run import backbone_run
from tests.report.full_run import DEVICE, benchmark, full_run


def timed(manifest: Manifest, name: str = "run") -> TimedRun:
    return TimedRun(name, manifest, latency_lines(manifest))


def test_each_batch_of_a_device_has_its_front() -> None:
    found = measured_fronts([timed(full_run())])
    assert [(front.title, front.device) for front in found] == [(f"batch {size}", DEVICE) for size in (1, 8, 32)]
    assert found[0].limit == 1.0 and found[0].loss == "drop in top-1, points"


def test_only_what_no_faster_one_beats_lies_on_it() -> None:
    front = measured_fronts([timed(full_run())])[1]
    assert [(point.label, point.best) for point in front.points] == [
        ("int8.rtx.plan", True),
        ("fp8.rtx.plan", False),  # slower than INT8 and loses more
        ("fp16.rtx.plan", True),
    ]
    assert [round(point.at_most, 2) for point in front.points] == [0.7, 0.85, 0.45]


def test_one_point_is_no_front() -> None:
    alone = replace(full_run(), speed=benchmark({"fp16.rtx.plan": "fp16"}).to_json())
    assert measured_fronts([timed(alone)]) == ()


def test_several_runs_share_a_front_and_keep_their_names() -> None:
    runs = [timed(full_run(), "a"), timed(full_run(), "b")]
    front = measured_fronts(runs)[0]
    assert {point.run for point in front.points} == {"a", "b"} and len(front.points) == 6


def test_a_run_of_another_measure_is_left_out() -> None:
    other = replace(backbone_run(), speed=full_run().speed)
    front = measured_fronts([timed(full_run(), "a"), timed(other, "b")])[0]
    assert {point.run for point in front.points} == {"a"}


def test_a_search_gives_its_plans_and_the_one_it_ended_with() -> None:
    front = modelled_front([timed(full_run())])
    assert front is not None and "modelled" in front.title and front.device == ""
    (found,) = [point for point in front.points if point.chosen]
    assert found.time == 100 * (1 - 79.0 / 100) and found.label.startswith("put back")
    everything = front.points[0]
    assert everything.time == 0 and everything.upper == 1.75


def test_a_refused_search_ended_with_none() -> None:
    manifest = full_run()
    search = dict(manifest.steps[5].facts["search"])
    search["plan"] = {**search["plan"], "choice": {}}
    refused = replace(manifest, steps=(replace(manifest.steps[5], facts={"search": search}),))
    front = modelled_front([timed(refused)])
    assert front is not None and not any(point.chosen for point in front.points)


def test_without_a_search_nothing_is_modelled() -> None:
    assert modelled_front([timed(backbone_run())]) is None
