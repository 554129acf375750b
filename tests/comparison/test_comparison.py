"""Two runs side by side: what differed, and paired figures that were worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swin_deploy.comparison.comparison import Comparison, compare_runs
from swin_deploy.comparison.pair import Pair
from swin_deploy.errors import BadInput
from swin_deploy.manifest import FILE_NAME
from swin_deploy.parity.mcnemar import mcnemar_p
from swin_deploy.parity.paired_drop import PairedDrop
from tests.comparison.two_runs import IMAGES, write_run
from tests.report.full_run import full_run


def compared(folder: Path, first: Any = (), second: Any = (), **changes: Any) -> Comparison:
    write_run(folder / "a", first)
    write_run(folder / "b", second, **changes)
    return compare_runs([folder / "a", folder / "b"])


def the_pair(comparison: Comparison) -> Pair:
    (pair,) = [pair for pair in comparison.pairs if pair.artifact == "fp16"]
    return pair


def test_the_same_run_twice_differs_in_nothing(tmp_path: Path) -> None:
    comparison = compared(tmp_path)
    assert comparison.differences == ()
    assert the_pair(comparison).agreement == 1.0


def test_each_difference_is_named_with_what_either_had(tmp_path: Path) -> None:
    made = full_run()
    changes = {
        "recipe": {**made.recipe, "max_drop": 0.5, "seed": 3},
        "machine": {**made.machine, "gpu": "another"},
        "checkpoint": {**made.checkpoint, "sha256": "4" * 64},
    }
    found = {(entry.kind, entry.name): entry.values for entry in compared(tmp_path, **changes).differences}
    assert found == {
        ("checkpoint", "sha256"): ("1" * 64, "4" * 64),
        ("recipe", "max_drop"): ("1.0", "0.5"),
        ("recipe", "seed"): ("-", "3"),
        ("machine", "gpu"): ("no GPU", "another"),
    }


def test_tools_of_other_versions_are_a_difference(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    manifest = write_run(tmp_path / "b")
    steps = (replace(manifest.steps[0], tools={"swin-deploy": "0.0.1"}), *manifest.steps[1:])
    (tmp_path / "b" / FILE_NAME).write_text(json.dumps(replace(manifest, steps=steps).to_json()), encoding="utf-8")
    (found,) = compare_runs([tmp_path / "a", tmp_path / "b"]).differences
    assert (found.kind, found.name, found.values) == ("tools", "swin-deploy", ("0.0.0", "0.0.1, 0.0.0"))


def test_outputs_of_the_same_images_are_paired(tmp_path: Path) -> None:
    """The first is wrong about two images; the second about one of them and three others: three lost, one won."""
    pair = the_pair(compared(tmp_path, (0, 1), (1, 5, 6, 7)))
    assert (pair.images, pair.agreement) == (IMAGES, 1 - 4 / IMAGES)
    assert isinstance(pair.drop, PairedDrop)
    assert (pair.drop.lost, pair.drop.won, pair.drop.drop) == (3, 1, 100 * 2 / IMAGES)
    assert pair.drop.lower < pair.drop.drop < pair.drop.upper
    assert pair.drop.mcnemar_p == mcnemar_p(3, 1) == 0.625


def test_the_labels_of_either_run_are_enough(tmp_path: Path) -> None:
    assert the_pair(compared(tmp_path, (), (3,), truth=False)).drop is not None


def test_without_labels_only_the_decisions_are_compared(tmp_path: Path) -> None:
    write_run(tmp_path / "a", truth=False)
    write_run(tmp_path / "b", (3,), truth=False)
    pair = the_pair(compare_runs([tmp_path / "a", tmp_path / "b"]))
    assert pair.drop is None and pair.agreement == 1 - 1 / IMAGES and "--resume" in pair.reason


def test_other_images_are_not_paired(tmp_path: Path) -> None:
    made = full_run()
    comparison = compared(tmp_path, evaluation={**made.evaluation, "fingerprint": "5" * 64})
    pair = the_pair(comparison)
    assert (pair.images, pair.drop, pair.reason) == (0, None, "they were judged on other images")


def test_outputs_that_are_not_what_was_measured_are_not_paired(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    (tmp_path / "b" / "outputs" / "fp16.graph.npz").write_bytes(b"PK\x03\x04 torn")
    pair = the_pair(compare_runs([tmp_path / "a", tmp_path / "b"]))
    assert pair.images == 0 and "not kept" in pair.reason


def test_a_manifest_leads_to_no_file_outside_of_its_run(tmp_path: Path) -> None:
    """Its outputs are looked for in the run's own folder, whatever path it names."""
    manifest = write_run(tmp_path / "a")
    row = replace(manifest.steps[3].rows[0], outputs=str(tmp_path / "elsewhere" / "fp16.graph.npz"))
    steps = (*manifest.steps[:3], replace(manifest.steps[3], rows=(row,)), *manifest.steps[4:])
    (tmp_path / "a" / FILE_NAME).write_text(json.dumps(replace(manifest, steps=steps).to_json()), encoding="utf-8")
    write_run(tmp_path / "b")
    assert the_pair(compare_runs([tmp_path / "a", tmp_path / "b"])).images == IMAGES


def test_a_limited_view_is_compared_on_the_images_that_both_saw(tmp_path: Path) -> None:
    from swin_deploy.parity.measure import Outputs
    from swin_deploy.parity.stored_outputs import write_outputs
    from tests.comparison.two_runs import logits

    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    few = Outputs({8: {"logits": logits((0,))[:10]}}, 8, 1.0)
    write_outputs(tmp_path / "b" / "outputs" / "fp16.graph.npz", "key of fp16", few)
    pair = the_pair(compare_runs([tmp_path / "a", tmp_path / "b"]))
    assert pair.images == 10 and pair.agreement == 0.9


def test_restorations_are_paired_by_their_pictures(tmp_path: Path) -> None:
    from swin_deploy.comparison.compared_run import ComparedRun
    from swin_deploy.comparison.pair import pairs
    from swin_deploy.parity.measure import Outputs
    from swin_deploy.parity.psnr_drop import PsnrDrop
    from swin_deploy.parity.stored_outputs import write_outputs
    from tests.report.example_run import LOST, restoration_run

    generator = np.random.default_rng(0)
    pictures = generator.integers(40, 200, (8, 3, 24, 24), dtype=np.uint8)
    made = restoration_run(LOST)
    row = replace(made.steps[1].rows[0], outputs="outputs/fp16.graph.npz", key="k")
    manifest = replace(made, steps=(made.steps[0], replace(made.steps[1], rows=(row,))))
    runs = []
    for name, spread in (("a", 0.01), ("b", 0.02)):  # twice the error: about 6 dB
        noise = spread * np.random.default_rng(1).standard_normal(pictures.shape)
        images = (pictures / 255 + noise).astype(np.float32)
        write_outputs(tmp_path / name / "outputs" / "fp16.graph.npz", "k", Outputs({8: {"image": images}}, 8, 1.0))
        fingerprint = np.array(manifest.evaluation["fingerprint"])
        np.savez(tmp_path / name / "outputs" / "truth.npz", fingerprint=fingerprint, pictures=pictures)
        runs.append(ComparedRun(name, tmp_path / name, manifest))
    (pair,) = [pair for pair in pairs(*runs) if pair.label == "graph"]
    assert isinstance(pair.drop, PsnrDrop) and pair.agreement is None
    assert 5.5 < pair.drop.lower < pair.drop.drop < pair.drop.upper < 6.5


def test_json_holds_everything_and_is_json(tmp_path: Path) -> None:
    raw = json.loads(json.dumps(compared(tmp_path, (), (3,)).to_json(), allow_nan=False))
    assert raw["kind"] == "comparison" and raw["schema_version"] == 1
    assert [run["name"] for run in raw["runs"]] == ["a", "b"]
    assert next(pair for pair in raw["pairs"] if pair["artifact"] == "fp16")["drop"]["lost"] == 1


def test_a_damaged_manifest_is_unusable_input(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    manifest = write_run(tmp_path / "b")
    raw = {**manifest.to_json(), "recipe": {}}
    (tmp_path / "b" / FILE_NAME).write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(BadInput):
        compare_runs([tmp_path / "b", tmp_path / "a"])
