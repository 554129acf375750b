"""The calibration's record: complete, strict when read, and precise about what changed."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calib.calibration_record import CalibrationRecord, record_from_text, record_to_text
from calib.errors import BadData
from calib.images import open_images
from calib.preprocess import Preprocess
from calib.synthetic import structured_images

TRANSFORM = Preprocess(32, 32, "squash", "bilinear", "torch", (0.1 + 0.2, 0.5, 0.5), (0.25, 0.25, 0.25))
METHOD = {"ranges": {"name": "percentile", "percentile": 99.99}, "tools": {"numpy": "2.0", "onnxruntime": "1.20"}}


def digest(digit: str) -> str:
    return digit * 64


RECORD = CalibrationRecord(
    source_kind="tar",
    source_name="train.tar.xz",
    available=5,
    limit=3,
    seed=7,
    balanced=True,
    images=(("airplane/1.png", digest("a")), ("cat/1.png", digest("b")), ("cat/2.png", digest("c"))),
    preprocess=TRANSFORM.to_json(),
    method=METHOD,
    graph_sha256=digest("0"),
)


def test_the_text_reads_back_to_an_equal_record() -> None:
    text = record_to_text(RECORD)
    assert text.endswith("\n") and json.loads(text)["schema_version"] == 1 and json.loads(text)["used"] == 3
    assert record_from_text(text) == RECORD
    assert RECORD.differences(record_from_text(text)) == ()


def test_a_name_that_is_no_text_survives() -> None:
    odd = replace(RECORD, images=(("\udcff/\N{SNOWMAN}.png", digest("a")), *RECORD.images[1:]))
    assert record_from_text(record_to_text(odd).encode("utf-8").decode("utf-8")) == odd


def test_the_summary_says_which_images_how_many_and_how_chosen() -> None:
    assert RECORD.summary() == "3 of 5 images of train.tar.xz (tar), balanced over the classes, chosen by seed 7"
    assert replace(RECORD, balanced=False).summary().endswith("(tar), chosen by seed 7")
    whole = replace(RECORD, available=3, limit=None, seed=None, balanced=False)
    assert whole.summary() == "3 of 3 images of train.tar.xz (tar), all of them"


def test_the_record_cannot_be_changed_from_outside() -> None:
    method = {"name": "mse", "options": {"bins": 8192}}
    record = replace(RECORD, method=method)
    method["options"]["bins"] = 1
    record.to_json()["method"]["options"]["bins"] = 2
    assert record.method == {"name": "mse", "options": {"bins": 8192}}
    with pytest.raises(TypeError):
        record.method["name"] = "entropy"  # type: ignore[index]


def written(root: Path, kind: str) -> Path:
    pictures = structured_images(4, 8, 8, seed=0)
    if kind == "npz":
        np.savez(root / "set.npz", images=pictures, labels=np.array([0, 1, 0, 1]))
        return root / "set.npz"
    from PIL import Image

    for index, picture in enumerate(pictures):
        place = root / "set" / ("ant", "bee")[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{index}.png")
    if kind == "folder":
        return root / "set"
    with tarfile.open(root / "set.tar", "w") as archive:
        archive.add(root / "set", "set")
    return root / "set.tar"


def taken(path: Path, limit: int | None = 2, seed: int = 3) -> CalibrationRecord:
    images = open_images(path, limit=limit, seed=seed)
    return CalibrationRecord.of(
        images, available=4, limit=limit, seed=seed, preprocess=TRANSFORM, method=METHOD, graph_sha256=digest("0")
    )


@pytest.mark.parametrize(("kind", "name"), [("folder", "set"), ("tar", "set.tar"), ("npz", "set.npz")])
def test_a_record_is_made_from_a_set_and_names_no_path(tmp_path: Path, kind: str, name: str) -> None:
    path = written(tmp_path, kind)
    record, images = taken(path), open_images(path, limit=2, seed=3)
    assert (record.source_kind, record.source_name) == (kind, name)
    assert record.images == tuple(zip(images.names, images.content_hashes(), strict=True))
    assert (record.available, record.used, record.limit, record.seed, record.balanced) == (4, 2, 2, 3, True)
    assert str(tmp_path) not in record_to_text(record)


def test_without_a_limit_no_seed_is_said_to_have_chosen(tmp_path: Path) -> None:
    record = taken(written(tmp_path, "folder"), limit=None)
    assert (record.limit, record.seed, record.balanced, record.used) == (None, None, False, 4)


def test_a_folder_and_its_tar_are_the_same_calibration(tmp_path: Path) -> None:
    tar, folder = taken(written(tmp_path, "tar")), taken(tmp_path / "set")
    assert tar != folder and tar.differences(folder) == ()
    tar.require_same(folder)


# --- differences -----------------------------------------------------------------------------------------------------

OTHER_IMAGE = ("airplane/9.png", digest("d"))


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"images": (OTHER_IMAGE, *RECORD.images[1:])}, "the images: 1 of 3 differ, first airplane/9.png"),
        ({"images": RECORD.images[::-1]}, "the images: the same 3 in another order"),
        (
            {"images": RECORD.images[:2], "limit": 2},
            "the images: all of them were among those used; there are 2 and were 3",
        ),
        (
            {"images": (*RECORD.images, OTHER_IMAGE), "limit": 4},
            "the images: 1 of 4 differ, first airplane/9.png; there are 4 and were 3",
        ),
        (
            {"preprocess": replace(TRANSFORM, mean=(0.0, 0.5, 0.5)).to_json()},
            "the transform: mean is [0.0, 0.5, 0.5] and was [0.30000000000000004, 0.5, 0.5]",
        ),
        ({"method": {**METHOD, "ranges": {"name": "mse"}}}, 'the method: ranges.name is "mse" and was "percentile"'),
        ({"method": {**METHOD, "bias": True}}, "the method: bias is true and was not there"),
        ({"graph_sha256": digest("1")}, "the graph: its SHA-256 starts with 111111111111 and did with 000000000000"),
    ],
)
def test_a_difference_is_one_clear_phrase(change: dict[str, object], phrase: str) -> None:
    changed = replace(RECORD, **change)
    assert changed.differences(RECORD)[0] == phrase
    with pytest.raises(BadData) as caught:
        changed.require_same(RECORD)
    assert phrase in str(caught.value) and "Calibrate again" in str(caught.value)


def test_all_differences_are_told() -> None:
    changed = replace(RECORD, images=RECORD.images[::-1], method={"ranges": METHOD["ranges"]}, graph_sha256=digest("1"))
    found = changed.differences(RECORD)
    assert [phrase.partition(":")[0] for phrase in found] == ["the images", "the method", "the graph"]
    assert found[1] == 'the method: tools is not there and was {"numpy": "2.0", "onnxruntime": "1.20"}'


def test_an_image_used_twice_is_not_the_same_as_once() -> None:
    twice = replace(RECORD, images=(RECORD.images[0], RECORD.images[0], RECORD.images[2]))
    assert twice.differences(RECORD) == ("the images: 1 of 3 differ, first airplane/1.png",)


def test_true_is_not_one() -> None:
    one, true = replace(RECORD, method={"bias": 1}), replace(RECORD, method={"bias": True})
    assert one.differences(true) == ("the method: bias is 1 and was true",)


def test_names_and_place_are_no_difference() -> None:
    renamed = replace(RECORD, source_kind="folder", source_name="elsewhere", available=50, seed=1)
    renamed = replace(renamed, images=tuple((f"new/{i}.png", h) for i, (_, h) in enumerate(RECORD.images)))
    assert renamed.differences(RECORD) == ()


# --- strictness ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version is 2"),
        ({"schema_version": True}, "schema_version is True"),
        ({"note": "x"}, "unknown note"),
        ({"source_kind": "url"}, "source_kind is 'url'"),
        ({"source_kind": ["tar"]}, r"source_kind is \['tar'\]"),
        ({"source_name": ""}, "source_name is ''"),
        ({"source_name": "home/me/train.tar"}, "source_name is 'home/me/train.tar'"),
        ({"source_name": None}, "source_name is None"),
        ({"available": 2}, "available is 2"),
        ({"available": 5.0}, "available is 5.0"),
        ({"used": 2}, "used is 2, and 3 images are named"),
        ({"used": True}, "used is True"),
        ({"limit": 0}, "limit is 0"),
        ({"limit": "3"}, "limit is '3'"),
        ({"limit": 4}, "3 images are used of 5 under a limit of 4"),
        ({"limit": None}, "a seed or a balance without a limit"),
        ({"seed": None}, "seed is None"),
        ({"seed": -1}, "seed is -1"),
        ({"balanced": 1}, "balanced is 1"),
        ({"images": []}, "names no image"),
        ({"images": "airplane"}, "images is 'airplane'"),
        ({"images": [["a.png", digest("a")]]}, "an image is"),
        ({"images": [{"name": "a.png"}]}, "an image is"),
        ({"images": [{"name": "", "sha256": digest("a")}]}, "an image is"),
        ({"images": [{"name": "a.png", "sha256": digest("G")}]}, "an image is"),
        ({"images": [{"name": "a.png", "sha256": "ab"}]}, "an image is"),
        ({"preprocess": None}, "preprocess is None"),
        ({"preprocess": {"height": 3}}, "preprocessing: missing"),
        ({"method": {}}, "method is {}"),
        ({"method": "percentile"}, "method is 'percentile'"),
        ({"graph_sha256": "0"}, "graph_sha256 is '0'"),
        ({"graph_sha256": 0}, "graph_sha256 is 0"),
    ],
)
def test_an_unfit_record_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(BadData, match=message):
        record_from_text(json.dumps({**RECORD.to_json(), **change}))


@pytest.mark.parametrize("key", sorted(RECORD.to_json()))
def test_a_missing_key_is_refused(key: str) -> None:
    record = RECORD.to_json()
    del record[key]
    with pytest.raises(BadData, match="schema_version is None" if key == "schema_version" else f"missing {key}"):
        CalibrationRecord.from_json(record)


@pytest.mark.parametrize(
    "value", [float("nan"), np.zeros(2), {1: "x"}, {"deep": [object()]}], ids=["nan", "array", "key", "object"]
)
def test_a_method_that_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(BadData, match=r"method\.option"):
        replace(RECORD, method={"option": value})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "calibration record: not readable as JSON"),
        ("[1]", "calibration record: not a JSON object"),
        (record_to_text(RECORD).replace('"seed"', '"limit"'), "key limit appears twice"),
    ],
)
def test_an_unfit_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadData, match=message):
        record_from_text(text)
