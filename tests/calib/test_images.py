"""Opening folders, tars and .npz files: labels, limits, fingerprints, and every way in which they can be unfit."""

from __future__ import annotations

import io
import tarfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from calib.errors import BadData
from calib.images import ImageSet, open_images

CLASSES = ("ship", "cat", "dog")


def picture(shade: int, size: tuple[int, int] = (6, 4)) -> np.ndarray:
    height, width = size
    return np.random.default_rng(shade).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_image(path: Path, shade: int = 0, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(shade)).save(path, **options)
    return path


def class_folders(root: Path, counts: dict[str, int]) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for index in range(count):
            write_image(root / name / f"{index:03}.png", 100 * number + index)
    return root


def tar_of(folder: Path, archive: Path, arcname: str) -> Path:
    mode = {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}[archive.suffix]
    with tarfile.open(archive, mode) as tar:
        tar.add(folder, arcname=arcname)
    return archive


def save_npz(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_flat_folder_is_read_sorted_and_without_labels(tmp_path: Path) -> None:
    for name, shade in (("b.png", 1), ("a.png", 0), ("c.PNG", 2)):
        write_image(tmp_path / name, shade)
    (tmp_path / "notes.txt").write_text("no image")
    found = open_images(tmp_path)
    assert found.names == ("a.png", "b.png", "c.PNG")
    assert found.labels is None and found.classes is None
    assert len(found) == 3
    assert [image.tolist() for image in found] == [picture(shade).tolist() for shade in range(3)]


def test_class_folders_are_numbered_in_sorted_order_without_class_names(tmp_path: Path) -> None:
    found = open_images(class_folders(tmp_path / "set", {"dog": 1, "cat": 2}))
    assert found.names == ("cat/000.png", "cat/001.png", "dog/000.png")
    assert found.labels == (0, 0, 1)
    assert found.classes == ("cat", "dog")


def test_an_empty_class_folder_keeps_its_number(tmp_path: Path) -> None:
    found = open_images(class_folders(tmp_path / "set", {"ant": 0, "cat": 1, "dog": 1}))
    assert found.labels == (1, 2)


def test_class_folders_get_their_index_among_the_checkpoints_classes(tmp_path: Path) -> None:
    found = open_images(class_folders(tmp_path / "set", {"cat": 1, "ship": 2}), classes=CLASSES)
    assert found.labels == (1, 0, 0)
    assert found.classes == CLASSES


def test_as_many_folders_as_classes_with_other_names_count_in_sorted_order(tmp_path: Path) -> None:
    found = open_images(class_folders(tmp_path / "set", {"n03": 1, "n01": 1, "n02": 1}), classes=CLASSES)
    assert found.names == ("n01/000.png", "n02/000.png", "n03/000.png")
    assert found.labels == (0, 1, 2)
    assert found.classes == CLASSES


@pytest.mark.parametrize(
    "folders",
    [
        pytest.param(("cat", "bird"), id="one of them unknown"),
        pytest.param(("n01", "n02"), id="all unknown and too few"),
        pytest.param(("Ship", "Cat", "Dog"), id="another spelling"),
        pytest.param(("cat", "dog", "bird"), id="as many, but some match"),
    ],
)
def test_folders_that_differ_from_the_classes_are_an_error_naming_both(
    tmp_path: Path, folders: tuple[str, ...]
) -> None:
    root = class_folders(tmp_path / "set", dict.fromkeys(folders, 1))
    with pytest.raises(BadData) as caught:
        open_images(root, classes=CLASSES)
    unknown = next(name for name in folders if name not in CLASSES)
    assert unknown in str(caught.value) and "ship, cat, dog" in str(caught.value)


def test_numbers_whose_sorted_order_is_not_their_order_are_refused_as_class_codes(tmp_path: Path) -> None:
    names = tuple(f"class {i}" for i in range(11))
    root = class_folders(tmp_path / "plain", {str(i): 1 for i in range(11)})
    with pytest.raises(BadData, match="ambiguous"):
        open_images(root, classes=names)
    padded = class_folders(tmp_path / "padded", {f"{i:02}": 1 for i in range(11)})
    assert open_images(padded, classes=names).labels == tuple(range(11))


def test_wrapper_folders_are_looked_through(tmp_path: Path) -> None:
    class_folders(tmp_path / "a" / "b" / "test", {"cat": 1, "dog": 1})
    found = open_images(tmp_path, classes=CLASSES)
    assert found.names == ("cat/000.png", "dog/000.png")
    assert found.labels == (1, 2)


def test_a_wrapper_around_a_flat_folder_is_looked_through(tmp_path: Path) -> None:
    write_image(tmp_path / "photos" / "a.png")
    found = open_images(tmp_path, classes=CLASSES)
    assert found.names == ("a.png",) and found.labels is None


def test_a_single_folder_named_like_a_class_is_a_class(tmp_path: Path) -> None:
    found = open_images(class_folders(tmp_path / "set", {"dog": 2}), classes=CLASSES)
    assert found.names == ("dog/000.png", "dog/001.png")
    assert found.labels == (2, 2)


def test_images_beside_folders_of_images_are_refused(tmp_path: Path) -> None:
    class_folders(tmp_path, {"cat": 1})
    write_image(tmp_path / "stray.png")
    with pytest.raises(BadData, match=r"stray\.png and cat/000\.png"):
        open_images(tmp_path)


def test_a_folder_of_splits_is_not_mistaken_for_classes(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"cat": 1})
    class_folders(tmp_path / "test", {"cat": 1})
    with pytest.raises(BadData, match="more than one folder deep"):
        open_images(tmp_path)


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    class_folders(tmp_path, {"cat": 1, "dog": 1, ".thumbnails": 1, "__MACOSX": 1})
    write_image(tmp_path / "cat" / "._000.png")
    assert open_images(tmp_path).names == ("cat/000.png", "dog/000.png")


def test_linked_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    class_folders(tmp_path / "elsewhere", {"cats": 1})
    class_folders(tmp_path / "set", {"dog": 1})
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "elsewhere" / "cats")
    (tmp_path / "set" / "dog" / "again").symlink_to(tmp_path / "set")
    assert open_images(tmp_path / "set").names == ("cat/000.png", "dog/000.png")


# --- tars ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2"])
@pytest.mark.parametrize("arcname", ["test", ".", "./deep/test", "/absolute/test"])
def test_a_tar_reads_as_the_folder_it_was_made_from(tmp_path: Path, suffix: str, arcname: str) -> None:
    folder = class_folders(tmp_path / "set", {"cat": 2, "dog": 1})
    before = sorted(tmp_path.rglob("*"))
    archive = tar_of(folder, tmp_path / f"set{suffix}", arcname)
    from_tar, from_folder = open_images(archive, classes=CLASSES), open_images(folder, classes=CLASSES)
    assert from_tar.names == from_folder.names
    assert from_tar.labels == from_folder.labels == (1, 1, 2)
    assert from_tar.fingerprint() == from_folder.fingerprint()
    assert np.array_equal(from_tar[2], from_folder[2])
    assert sorted(tmp_path.rglob("*")) == sorted([*before, archive]), "nothing is extracted"


def test_a_tar_of_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    write_image(tmp_path / "set" / "a.png")
    assert open_images(tar_of(tmp_path / "set", tmp_path / "set.tar", ".")).labels is None


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_truncated_tar_is_refused(tmp_path: Path, suffix: str, part: float) -> None:
    folder = class_folders(tmp_path / "set", {"cat": 40, "dog": 40})
    archive = tar_of(folder, tmp_path / f"set{suffix}", "set")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(BadData, match=r"set\.tar"):
        open_images(archive)


@pytest.mark.parametrize("suffix", [".tar", ".tar.xz"])
def test_a_tar_with_a_damaged_header_does_not_pass_for_a_smaller_set(tmp_path: Path, suffix: str) -> None:
    archive = tar_of(class_folders(tmp_path / "set", {"cat": 4, "dog": 4}), tmp_path / "set.tar", "set")
    with tarfile.open(archive) as tar:
        header = tar.getmember("set/dog/001.png").offset
    damaged = bytearray(archive.read_bytes())
    damaged[header : header + 8] = b"\xff" * 8
    archive.write_bytes(damaged)
    if suffix != ".tar":
        import lzma

        archive = archive.with_suffix(suffix)
        archive.write_bytes(lzma.compress(bytes(damaged)))
    with pytest.raises(BadData, match="breaks off"):
        open_images(archive)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_tar_with_a_single_end_block_is_whole(tmp_path: Path, suffix: str) -> None:
    archive = tar_of(class_folders(tmp_path / "set", {"cat": 1, "dog": 1}), tmp_path / "set.tar", "set")
    with tarfile.open(archive) as tar:
        tar.getmembers()
        end = tar.offset
    content = archive.read_bytes()[: end + 512]
    if suffix == ".tar":
        archive.write_bytes(content)
    else:
        import gzip

        archive = archive.with_suffix(suffix)
        archive.write_bytes(gzip.compress(content))
    assert len(open_images(archive)) == 2


def test_a_compressed_tar_under_the_wrong_name_is_refused(tmp_path: Path) -> None:
    archive = tar_of(class_folders(tmp_path / "set", {"cat": 1}), tmp_path / "set.tar.gz", "set")
    renamed = archive.rename(tmp_path / "set.tar")
    with pytest.raises(BadData, match="compression fits its name"):
        open_images(renamed)


def add_member(tar: tarfile.TarFile, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, "/etc/hostname" if kind != tarfile.REGTYPE else ""
    tar.addfile(info, io.BytesIO(content))


def test_a_link_in_a_tar_is_refused_and_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        add_member(tar, "set/a.png", kind=tarfile.SYMTYPE)
    with pytest.raises(BadData, match="is a link"):
        open_images(tmp_path / "set.tar")


def test_a_member_that_leads_out_of_the_tar_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        add_member(tar, "set/../../a.png", b"content")
    with pytest.raises(BadData, match="leads out of the archive"):
        open_images(tmp_path / "set.tar")


def test_a_plain_tar_that_shrinks_after_opening_is_noticed(tmp_path: Path) -> None:
    archive = tar_of(class_folders(tmp_path / "set", {"cat": 1, "dog": 1}), tmp_path / "set.tar", "set")
    found = open_images(archive)
    archive.write_bytes(archive.read_bytes()[:600])
    with pytest.raises(BadData, match=r"dog/000\.png ends early"):
        found[1]


# --- .npz ------------------------------------------------------------------------------------------------------------

STACK = np.stack([picture(shade) for shade in range(4)])


def test_an_npz_gives_its_images_labels_and_classes(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "set.npz", images=STACK, labels=np.array([1, 0, 1, 0]), classes=np.array(["cat", "dog"]))
    found = open_images(path)
    assert found.labels == (1, 0, 1, 0) and found.classes == ("cat", "dog")
    assert np.array_equal(found[3], STACK[3])
    found[3][:] = 0
    assert np.array_equal(found[3], STACK[3]), "a caller's change does not reach the set"


def test_labels_of_an_npz_are_translated_to_the_checkpoints_classes(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "set.npz", images=STACK, labels=np.array([1, 0, 1, 0]), classes=np.array(["cat", "dog"]))
    assert open_images(path, classes=CLASSES).labels == (2, 1, 2, 1)


def test_the_class_codes_of_an_npz_keep_their_order(tmp_path: Path) -> None:
    path = save_npz(
        tmp_path / "set.npz", images=STACK, labels=np.array([0, 1, 2, 0]), classes=np.array(["n9", "n5", "n7"])
    )
    assert open_images(path, classes=CLASSES).labels == (0, 1, 2, 0)


def test_an_npz_without_labels_has_none(tmp_path: Path) -> None:
    assert open_images(save_npz(tmp_path / "set.npz", images=STACK)).labels is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        pytest.param({"pictures": STACK}, "no array named images .*pictures", id="other names"),
        pytest.param({"images": STACK.astype(np.float32)}, "images is float32", id="float images"),
        pytest.param({"images": STACK.transpose(0, 3, 1, 2)}, r"images is uint8 \[4, 3, 6, 4\]", id="NCHW"),
        pytest.param({"images": STACK[0]}, r"images is uint8 \[6, 4, 3\]", id="one image"),
        pytest.param({"images": STACK[:0]}, "holds no image", id="no image"),
        pytest.param({"images": STACK, "labels": np.zeros(3, np.int64)}, r"labels is int64 \[3\]", id="too few labels"),
        pytest.param({"images": STACK, "labels": np.zeros(4)}, "labels is float64", id="float labels"),
        pytest.param({"images": STACK, "labels": np.array([0, 1, -1, 0])}, r"images\[2\] has label -1", id="negative"),
        pytest.param(
            {"images": STACK, "labels": np.array([0, 3, 1, 0])}, r"images\[1\] has label 3.*0 to 2", id="high"
        ),
        pytest.param({"images": STACK, "classes": np.arange(3)}, "classes is int64", id="numbers as classes"),
        pytest.param({"images": STACK, "classes": np.array(["a", "a"])}, "repeat", id="repeated classes"),
        pytest.param({"images": STACK, "labels": np.array([None] * 4)}, "without pickles", id="pickled labels"),
    ],
)
def test_an_unfit_npz_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(BadData, match=message):
        open_images(save_npz(tmp_path / "set.npz", **arrays), classes=CLASSES)


def test_a_label_beyond_the_npz_files_own_classes_is_refused(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "set.npz", images=STACK, labels=np.array([0, 0, 0, 1]), classes=np.array(["cat"]))
    with pytest.raises(BadData, match=r"images\[3\] has label 1"):
        open_images(path, classes=CLASSES)


class Payload:
    """Would write a file if a pickle of it were loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


def test_a_pickle_in_an_npz_is_refused_without_running_it(tmp_path: Path) -> None:
    target = tmp_path / "ran"
    path = save_npz(tmp_path / "set.npz", images=np.array([Payload(target)], dtype=object))
    with pytest.raises(BadData, match="without pickles"):
        open_images(path)
    assert not target.exists()
    np.load(path, allow_pickle=True)["images"]
    assert target.exists(), "the control: loading it with pickles allowed does run it"


def test_other_files_named_npz_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", STACK)
    single = (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    whole = save_npz(tmp_path / "cut.npz", images=STACK).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    for path, message in ((single, "single array"), (tmp_path / "text.npz", "pickles"), (tmp_path / "cut.npz", "cut")):
        with pytest.raises(BadData, match=message):
            open_images(path)


# --- what cannot be opened -------------------------------------------------------------------------------------------


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"nowhere does not exist"):
        open_images(tmp_path / "nowhere")


def test_a_folder_without_images_holds_no_image(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("none")
    with pytest.raises(BadData, match="holds no image"):
        open_images(tmp_path)


def test_a_tar_without_images_holds_no_image(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(BadData, match="holds no image"):
        open_images(tar_of(tmp_path / "set", tmp_path / "set.tar.gz", "set"))


@pytest.mark.parametrize("name", ["photo.png", "set.zip", "set"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"content")
    with pytest.raises(BadData, match=r"no known kind.*Needed: a folder"):
        open_images(tmp_path / name)


def test_a_text_file_named_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set.tar").write_text("not an archive")
    with pytest.raises(BadData, match="cannot be read as a tar"):
        open_images(tmp_path / "set.tar")


def test_unfit_arguments_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    with pytest.raises(BadData, match="limit of 0"):
        open_images(tmp_path, limit=0)
    with pytest.raises(BadData, match="repeat: cat, cat"):
        open_images(tmp_path, classes=("cat", "cat"))


# --- broken and unusual images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_broken_jpeg_is_named_when_decoded_and_at_opening_with_verify(
    tmp_path: Path, options: dict[str, bool]
) -> None:
    write_image(tmp_path / "cat" / "good.jpg", 0)
    broken = write_image(tmp_path / "dog" / "broken.jpg", 1, **options)
    assert len(open_images(tmp_path, verify=True)) == 2, "the control: whole, it passes"
    broken.write_bytes(broken.read_bytes()[:-40])
    found = open_images(tmp_path)
    assert found[0].shape == (6, 4, 3)
    with pytest.raises(BadData, match=r"broken\.jpg is a broken image"):
        found[1]
    with pytest.raises(BadData, match=r"broken\.jpg is a broken image"):
        open_images(tmp_path, verify=True)


@pytest.mark.parametrize("suffix", [".tar", ".tar.xz"])
def test_a_broken_jpeg_in_a_tar_is_named_with_its_archive(tmp_path: Path, suffix: str) -> None:
    broken = write_image(tmp_path / "set" / "a.jpg")
    broken.write_bytes(broken.read_bytes()[:-40])
    archive = tar_of(tmp_path / "set", tmp_path / f"photos{suffix}", "set")
    with pytest.raises(BadData, match=rf"photos\{suffix}: set/a\.jpg is a broken image"):
        open_images(archive, verify=True)


@pytest.mark.parametrize("kind", ["png", "bmp", "ppm", "tif", "webp", "jpg"])
def test_no_cut_of_an_image_gives_other_pixels(tmp_path: Path, kind: str) -> None:
    whole = write_image(tmp_path / f"a.{kind}").read_bytes()
    expected = open_images(tmp_path)[0]
    refused = 0
    for length in range(len(whole)):
        (tmp_path / f"a.{kind}").write_bytes(whole[:length])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damaged EXIF data before it gives up on a TIFF
            try:
                pixels = open_images(tmp_path)[0]
            except BadData:
                refused += 1
            else:
                assert np.array_equal(pixels, expected), f"cut at {length}"
    assert refused > len(whole) // 2


def test_a_text_file_named_jpg_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("not a picture")
    with pytest.raises(BadData, match=r"a\.jpg is no image that can be read"):
        open_images(tmp_path, verify=True)


def test_postscript_under_an_image_name_is_not_handed_to_an_interpreter(tmp_path: Path) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    with pytest.raises(BadData, match=r"a\.jpg is no image that can be read"):
        open_images(tmp_path, verify=True)


def test_an_image_that_disappears_after_opening_is_named(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png")
    found = open_images(tmp_path)
    path.unlink()
    with pytest.raises(BadData, match=r"a\.png cannot be read"):
        found[0]


def test_decoding_refuses_to_run_with_truncated_images_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.jpg")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(BadData, match="LOAD_TRUNCATED_IMAGES"):
        open_images(tmp_path)[0]


def test_every_mode_becomes_rgb_without_a_warning(tmp_path: Path) -> None:
    grey = Image.fromarray(np.full((4, 5), 77, np.uint8))
    colour = Image.new("RGB", (5, 4), (10, 20, 30))
    palette = colour.quantize(4)
    palette.info["transparency"] = b"\x00\x80"
    made = {
        "1-grey.png": (grey, (77, 77, 77)),
        "2-grey-alpha.png": (grey.convert("LA"), (77, 77, 77)),
        "3-alpha.png": (Image.new("RGBA", (5, 4), (10, 20, 30, 0)), (10, 20, 30)),
        "4-cmyk.tif": (Image.new("CMYK", (5, 4), (245, 235, 225, 0)), (10, 20, 30)),
        "5-palette.png": (palette, (10, 20, 30)),
        "6-bilevel.png": (grey.convert("1", dither=Image.Dither.NONE), (0, 0, 0)),
    }
    for name, (image, _) in made.items():
        image.save(tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = open_images(tmp_path, verify=True)
    for image, (_, expected) in zip(found, made.values(), strict=True):
        assert image.shape == (4, 5, 3) and image.dtype == np.uint8
        assert np.array_equal(image, np.broadcast_to(np.uint8(expected), (4, 5, 3)))


def test_sixteen_bit_images_are_refused_because_conversion_would_clip(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 5), 40000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(BadData, match="more than 8 bits"):
        open_images(tmp_path, verify=True)


def test_the_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to show
    write_image(tmp_path / "a.jpg", exif=exif)
    assert open_images(tmp_path)[0].shape == (6, 4, 3)


# --- limit, subset, fingerprint --------------------------------------------------------------------------------------


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=2),
    st.integers(0, 5),
    st.integers(1, 60),
)
def test_every_prefix_of_a_limited_set_is_balanced(counts: dict[str, int], seed: int, limit: int) -> None:
    from calib.images import balanced_order

    labels = [ord(name) for name, count in counts.items() for _ in range(count)]
    names = [f"{name}/{i}" for name, count in counts.items() for i in range(count)]
    order = balanced_order(names, labels, seed)
    assert sorted(order) == list(range(len(names)))
    taken = Counter(labels[i] for i in order[:limit])
    most = max(taken.values())
    for name, count in counts.items():
        assert taken[ord(name)] >= min(count, most - 1)


def test_a_limit_is_reproducible_and_depends_on_the_seed(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", {"cat": 12, "dog": 12})
    first = open_images(root, limit=6, seed=1)
    assert Counter(first.labels or ()) == {0: 3, 1: 3}
    assert first.names == open_images(tar_of(root, tmp_path / "set.tar.xz", "set"), limit=6, seed=1).names
    assert first.names != open_images(root, limit=6, seed=2).names
    assert first.names == open_images(root, limit=24, seed=1).names[:6]
    # The order is a promise (it decides which images an evaluation saw), so it is pinned here.
    assert first.names == ("cat/006.png", "dog/004.png", "cat/005.png", "dog/003.png", "dog/001.png", "cat/001.png")


def test_a_limit_beyond_the_set_keeps_it_whole(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", {"cat": 2, "dog": 1})
    assert sorted(open_images(root, limit=50).names) == list(open_images(root).names)


def test_a_limit_works_without_labels(tmp_path: Path) -> None:
    found = open_images(save_npz(tmp_path / "set.npz", images=STACK), limit=2)
    assert len(set(found.names)) == 2 and found.labels is None


def test_verify_looks_only_at_the_images_that_are_kept(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", {"cat": 5, "dog": 5})
    kept = open_images(root, limit=4).names
    spoiled = next(name for name in open_images(root).names if name not in kept)
    (root / spoiled).write_bytes(b"broken")
    assert open_images(root, limit=4, verify=True).names == kept
    with pytest.raises(BadData, match=spoiled):
        open_images(root, verify=True)


def test_a_subset_keeps_names_labels_and_images_together(tmp_path: Path) -> None:
    found = open_images(class_folders(tmp_path / "set", {"cat": 2, "dog": 2}))
    part = found.subset([3, 0])
    assert part.names == ("dog/001.png", "cat/000.png") and part.labels == (1, 0)
    assert np.array_equal(part[0], found[3]) and np.array_equal(part[1], found[0])
    assert part.content_hashes() == (found.content_hashes()[3], found.content_hashes()[0])
    with pytest.raises(BadData, match="holds no image"):
        found.subset([])


def test_a_fingerprint_follows_contents_labels_and_order_but_not_names(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", {"cat": 2, "dog": 2})
    found = open_images(root)
    same = open_images(root)
    assert found.fingerprint() == same.fingerprint() and len(found.fingerprint()) == 64
    assert found.fingerprint() != found.subset([1, 0, 2, 3]).fingerprint()
    assert found.fingerprint() != found.subset([0, 1, 2]).fingerprint()
    relabelled = ImageSet(found.source, found.names, (0, 0, 1, 0), found.classes, found.items)
    unlabelled = ImageSet(found.source, found.names, None, found.classes, found.items)
    assert len({found.fingerprint(), relabelled.fingerprint(), unlabelled.fingerprint()}) == 3
    (root / "cat" / "000.png").rename(root / "cat" / "000a.png")
    assert found.fingerprint() == open_images(root).fingerprint()
    write_image(root / "cat" / "001.png", 55)
    assert found.fingerprint() != open_images(root).fingerprint()


def test_content_hashes_find_shared_images(tmp_path: Path) -> None:
    one = open_images(save_npz(tmp_path / "one.npz", images=STACK[:3]))
    two = open_images(save_npz(tmp_path / "two.npz", images=STACK[2:]))
    assert set(one.content_hashes()) & set(two.content_hashes()) == {one.content_hashes()[2]}
    turned = open_images(save_npz(tmp_path / "turned.npz", images=STACK[:3].reshape(3, 4, 6, 3)))
    assert not set(one.content_hashes()) & set(turned.content_hashes()), "the same bytes in another shape"
