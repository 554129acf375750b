"""Sets of images with their labels, read from folders, tars and .npz files without unpacking anything."""

from __future__ import annotations

import hashlib
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from calib.errors import BadData
from calib.image_source import ArrayRow, FileImage, ImageSource, MemoryImage, TarSlice

__all__ = ["IMAGE_SUFFIXES", "ImageSet", "balanced_order", "open_images"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
"""The files that count as images, by suffix in any case; others are passed over, as ImageFolder does."""

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst")
_TAR_ERRORS = (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, OSError)
_NPZ_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, KeyError, RuntimeError)
_KINDS = "a folder of images, a folder with one sub-folder a class, a tar of either, or an .npz file"


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in a fixed order, decoded when asked for.

    Attributes:
        source: Where they come from, for reports and errors.
        names: One name an image, unique in its source: the path under the class folders' parent, or the row.
        labels: One class index an image, `None` when the source has no classes.
        classes: The class names that labels index, `None` when they are not known.
        items: How each image is read; opaque to users of the set.
    """

    source: str
    names: tuple[str, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...] | None
    items: tuple[ImageSource, ...] = field(repr=False)

    def __post_init__(self) -> None:
        """Check that the parts fit each other.

        Raises:
            BadData: no image, or a label that is no class.
        """
        assert len(self.names) == len(self.items), "one name an image"
        assert self.labels is None or len(self.labels) == len(self.items), "one label an image"
        if not self.items:
            raise BadData(f"{self.source} holds no image", needed=_KINDS)
        if self.labels is not None:
            count = None if self.classes is None else len(self.classes)
            wrong = next((i for i, x in enumerate(self.labels) if x < 0 or (count is not None and x >= count)), None)
            if wrong is not None:
                raise BadData(
                    f"{self.source}: {self.names[wrong]} has label {self.labels[wrong]}, which is out of range",
                    needed="a label of 0 or more" if count is None else f"a label from 0 to {count - 1}",
                )

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.items)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        """Decode one image to uint8 [H, W, 3], RGB.

        Raises:
            BadData: the image is broken; the message names it.
        """
        return self.items[index].pixels()

    def __iter__(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Decode the images one after the other."""
        return (item.pixels() for item in self.items)

    def subset(self, indices: Iterable[int]) -> ImageSet:
        """The images at `indices`, in that order; the rest of the set is not kept alive by it.

        Raises:
            BadData: `indices` is empty.
        """
        chosen = tuple(indices)
        labels = None if self.labels is None else tuple(self.labels[i] for i in chosen)
        names = tuple(self.names[i] for i in chosen)
        return ImageSet(self.source, names, labels, self.classes, tuple(self.items[i] for i in chosen))

    @cached_property
    def _hashes(self) -> tuple[str, ...]:
        return tuple(hashlib.sha256(item.content()).hexdigest() for item in self.items)

    def content_hashes(self) -> tuple[str, ...]:
        """The SHA-256 of each image's content: the encoded file, or for .npz the size and raw pixels.

        They tell whether two sets share images, as calibration and evaluation data must not. Only sets of the same
        kind can be compared: the same picture has different content in a JPEG and in an .npz.
        """
        return self._hashes

    def fingerprint(self) -> str:
        """SHA-256 over all contents and labels, in order.

        Names and place do not enter: a folder and a tar of it have the same fingerprint.
        """
        digest = hashlib.sha256()
        for content in self._hashes:
            digest.update(bytes.fromhex(content))
        digest.update(b"unlabelled" if self.labels is None else b"labels")
        for label in self.labels or ():
            digest.update(struct.pack("<q", label))
        return digest.hexdigest()


def open_images(
    path: Path | str,
    *,
    limit: int | None = None,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    verify: bool = False,
) -> ImageSet:
    """Open a folder, a tar or an .npz file of images.

    A folder holds images (no labels), or one sub-folder a class with images in it. A folder with nothing but one
    folder is a wrapper and is looked through, unless that one folder is named like one of `classes` and holds images
    itself. A tar, compressed or not, is read as the folder it was made from, in place: nothing is extracted. The
    images of a compressed tar are held in memory, encoded, since it cannot be read at a random place; for a set that
    is too large for that use a folder or an uncompressed tar. An .npz holds `images`, uint8 [N, H, W, 3], and may hold
    `labels`, integers [N], and `classes`, strings. Hidden files and files that are no images by their suffix are
    passed over.

    **Labels.** With `classes`, a folder's label is the index of its name in `classes`. If there are as many folders
    as classes and not one name matches, the folders count as the classes in sorted order: ImageNet's folders are
    named by WordNet numbers, whose sorted order is the usual order of its 1000 logits. Any other difference is an
    error. Without `classes`, labels number the folders in sorted order, empty ones included. The same rules apply to
    the names in an .npz, in the order the file gives them.

    **Limit.** The images of each class are put in an order given by the SHA-256 of seed and name, then taken in turns,
    one of each class a round; so any prefix has as many of one class as of another, give or take one, until a class
    runs out. The choice depends on nothing but seed and names: not on the NumPy version, the file system, or whether
    the set is a folder or a tar. A limit of the set's size or more keeps all images, in that order; no limit keeps
    them sorted by name.

    Args:
        path: What to open.
        limit: How many images to keep at most.
        seed: Chooses which ones.
        classes: The checkpoint's class names in the order of its logits.
        verify: Decode every kept image once now, so that a broken one is found before hours of work.

    Raises:
        BadData: nothing can be read there; the message says what was found.
    """
    place = Path(path)
    if limit is not None and limit < 1:
        raise BadData(f"a limit of {limit} images", needed="at least 1")
    known = None if classes is None else tuple(classes)
    if known is not None and len(set(known)) != len(known):
        raise BadData(f"class names that repeat: {_listed(known)}", needed="one name a class")

    if place.is_dir():
        found = _from_tree(str(place), *_walk(place), known)
    elif not place.exists():
        raise BadData(f"{place} does not exist", needed=_KINDS)
    elif place.name.lower().endswith(_TAR_SUFFIXES):
        found = _from_tree(str(place), *_read_tar(place), known)
    elif place.suffix.lower() == ".npz":
        found = _read_npz(place, known)
    else:
        raise BadData(f"{place} is a file of no known kind", needed=_KINDS)

    if limit is not None:
        found = found.subset(balanced_order(found.names, found.labels, seed)[:limit])
    if verify:
        for item in found.items:
            item.pixels()
    return found


def balanced_order(names: Sequence[str], labels: Sequence[int] | None, seed: int) -> list[int]:
    """All indices, in rounds of one image a class; see `open_images`."""

    def shuffled(index: int) -> bytes:
        return hashlib.sha256(f"{seed}\n{names[index]}".encode("utf-8", "surrogateescape")).digest()

    by_class: dict[int, list[int]] = {}
    for index in sorted(range(len(names)), key=shuffled):
        by_class.setdefault(0 if labels is None else labels[index], []).append(index)
    ranks = {index: turn for members in by_class.values() for turn, index in enumerate(members)}
    # Within a round the images' own hashes set the order, so that classes do not always come in the same one.
    return sorted(ranks, key=lambda index: (ranks[index], shuffled(index)))


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _is_image(relative: PurePosixPath) -> bool:
    return relative.suffix.lower() in IMAGE_SUFFIXES and not any(_is_hidden(part) for part in relative.parts)


def _walk(root: Path) -> tuple[dict[PurePosixPath, ImageSource], set[PurePosixPath]]:
    """The images and the folders under `root`, by relative path; links are followed, but not in circles."""
    images: dict[PurePosixPath, ImageSource] = {}
    folders: set[PurePosixPath] = set()
    above: dict[str, frozenset[str]] = {str(root): frozenset({os.path.realpath(root)})}

    def refuse(error: OSError) -> None:
        raise BadData(
            f"{error.filename} cannot be read: {error.strerror or error}", needed="readable folders"
        ) from error

    for here, subfolders, files in os.walk(root, followlinks=True, onerror=refuse):
        base, ancestors = Path(here), above.pop(here)
        kept = []
        for name in subfolders:
            real = os.path.realpath(base / name)
            if _is_hidden(name) or real in ancestors:
                continue
            kept.append(name)
            above[os.path.join(here, name)] = ancestors | {real}  # noqa: PTH118 - the very strings that os.walk makes
            folders.add(PurePosixPath((base / name).relative_to(root).as_posix()))
        subfolders[:] = kept
        for name in files:
            relative = PurePosixPath((base / name).relative_to(root).as_posix())
            if _is_image(relative):
                images[relative] = FileImage(base / name)
    return images, folders


def _read_tar(path: Path) -> tuple[dict[PurePosixPath, ImageSource], set[PurePosixPath]]:
    """The images and the folders in a tar, by their path in it. Of two members of one name the last counts."""
    images: dict[PurePosixPath, ImageSource] = {}
    folders: set[PurePosixPath] = set()
    plain = path.name.lower().endswith(".tar")
    try:
        # "r:" refuses a compressed file that is merely named .tar, whose offsets would not be offsets in the file.
        with tarfile.open(path, "r:" if plain else "r:*") as archive:
            for member in archive:
                parts = [part for part in PurePosixPath(member.name).parts if part != "/"]
                relative = PurePosixPath(*parts)
                if ".." in parts:
                    raise BadData(f"{path}: {member.name} leads out of the archive", needed="a tar of plain folders")
                if member.isdir():
                    if parts and not any(_is_hidden(part) for part in parts):
                        folders.add(relative)
                    continue
                if not _is_image(relative):
                    continue
                if not member.isreg() or member.issparse():
                    raise BadData(
                        f"{path}: {member.name} is a link or another special member",
                        needed="plain files",
                        do="Make the tar with links followed (tar --dereference --hard-dereference)",
                    )
                folders.update(parent for parent in relative.parents if parent.parts)
                where = f"{path}: {member.name}"
                if plain:
                    images[relative] = TarSlice(path, member.name, member.offset_data, member.size)
                    continue
                handle = archive.extractfile(member)
                assert handle is not None, "a regular member has data"
                images[relative] = MemoryImage(where, handle.read())
            if not _ends_properly(archive):
                raise tarfile.ReadError("it breaks off before its end mark")
    except _TAR_ERRORS as error:
        raise BadData(
            f"{path} cannot be read as a tar: {error}",
            needed=f"a whole tar whose compression fits its name ({', '.join(_TAR_SUFFIXES)})",
            do="Copy the archive again",
        ) from error
    return images, folders


def _ends_properly(archive: tarfile.TarFile) -> bool:
    """Whether the walk through `archive` stopped at the block of zeros that ends a tar.

    tarfile takes a damaged or missing header for the end, except for the first one, so that a spoiled archive would
    pass for a smaller set.
    """
    handle = archive.fileobj
    assert handle is not None, "opened by path"
    zeros = bytes(tarfile.BLOCKSIZE)
    # Every common writer ends with two such blocks or more. To look at the second one costs nothing; to look back at
    # the first one makes a compressed archive start over, so that is left for the rare tar with only one.
    if handle.read(tarfile.BLOCKSIZE) == zeros:
        return True
    handle.seek(archive.offset)
    return handle.read(tarfile.BLOCKSIZE) == zeros


def _from_tree(
    source: str,
    images: dict[PurePosixPath, ImageSource],
    folders: set[PurePosixPath],
    classes: tuple[str, ...] | None,
) -> ImageSet:
    """Find the layout of a tree: look through wrappers, then take it as flat or as one folder a class."""
    if not images:
        raise BadData(f"{source} holds no image", needed=f"{_KINDS}; images end in {', '.join(sorted(IMAGE_SUFFIXES))}")
    root = PurePosixPath()
    while True:
        beside = [path for path in images if path.parent == root]
        inner = sorted(folder for folder in folders if folder.parent == root)
        if beside or len(inner) != 1:
            break
        if classes is not None and inner[0].name in classes and any(path.parent == inner[0] for path in images):
            break
        root = inner[0]

    ordered = sorted(images)
    names = tuple(path.relative_to(root).as_posix() for path in ordered)
    items = tuple(images[path] for path in ordered)
    if beside:
        if len(beside) != len(images):
            other = next(name for name in names if "/" in name)
            raise BadData(
                f"{source} holds images both beside and inside folders ({beside[0].name} and {other})",
                needed="either images alone, or one folder a class with every image in one",
            )
        return ImageSet(source, names, None, classes, items)

    deep = next((name for name in names if name.count("/") > 1), None)
    if deep is not None:
        raise BadData(
            f"{source}: {deep} lies more than one folder deep",
            needed="one folder a class, with the images directly in it",
            do="Point at the folder whose sub-folders are the classes, such as the split's own folder",
        )
    found = tuple(folder.name for folder in inner)
    index_of = dict(zip(found, _match_classes(source, found, classes), strict=True))
    labels = tuple(index_of[PurePosixPath(name).parts[0]] for name in names)
    return ImageSet(source, names, labels, found if classes is None else classes, items)


def _match_classes(source: str, found: tuple[str, ...], classes: tuple[str, ...] | None) -> tuple[int, ...]:
    """For each of the source's classes, in its order, the label; see `open_images`."""
    if classes is None:
        return tuple(range(len(found)))
    index_of = {name: index for index, name in enumerate(classes)}
    if all(name in index_of for name in found):
        return tuple(index_of[name] for name in found)
    # "Cat" beside "cat" is a spelling to mend, not a sign that the names are codes in logit order.
    strangers = {name.casefold() for name in found}.isdisjoint(name.casefold() for name in classes)
    numbers = all(name.isdecimal() for name in found)
    if len(found) == len(classes) and strangers:
        if not numbers or [int(name) for name in found] == sorted(int(name) for name in found):
            return tuple(range(len(found)))
        raise BadData(
            f"{source}: the classes are numbers whose order is ambiguous ({_listed(found)})",
            needed=f"folders named like the checkpoint's classes ({_listed(classes)}), or numbers of equal length",
        )
    unknown = [name for name in found if name not in index_of]
    raise BadData(
        f"{source} has classes that the checkpoint does not know: {_listed(unknown)}",
        needed=f"a subset of its {len(classes)} classes: {_listed(classes)}",
        do="Rename the folders, or choose the data that the checkpoint was trained for",
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return shown if len(names) <= 12 else f"{shown}, ... ({len(names)} in all)"


def _read_npz(path: Path, classes: tuple[str, ...] | None) -> ImageSet:
    """Read an .npz. Pickled arrays are refused: loading one runs code from the file."""
    source = str(path)
    layout = "images uint8 [N, H, W, 3], optional labels as integers [N], optional classes as strings"
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    try:
        # Opened here, since np.load leaves its own handle open when the file turns out to be no archive.
        with path.open("rb") as handle:
            archive = np.load(handle, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise BadData(f"{path} is a single array, not an .npz", needed=layout)
            with archive:
                present = tuple(archive.files)
                for key in ("images", "labels", "classes"):
                    if key in present:
                        arrays[key] = archive[key]
    except _NPZ_ERRORS as error:
        raise BadData(f"{path} cannot be read as an .npz without pickles: {error}", needed=layout) from error

    if "images" not in arrays:
        raise BadData(
            f"{path} holds no array named images (it holds: {', '.join(present) or 'nothing'})", needed=layout
        )
    images = arrays["images"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape[1:]:
        raise BadData(f"{path}: images is {images.dtype} {list(images.shape)}", needed=layout)
    if not len(images):
        raise BadData(f"{path} holds no image", needed=layout)
    pixels = images.astype(np.uint8, copy=False)
    items = tuple(ArrayRow(f"{path}: images[{row}]", pixels, row) for row in range(len(pixels)))
    names = tuple(f"images[{row}]" for row in range(len(pixels)))

    given: tuple[str, ...] | None = None
    if "classes" in arrays:
        stored = arrays["classes"]
        if stored.dtype.kind != "U" or stored.ndim != 1:
            raise BadData(f"{path}: classes is {stored.dtype} {list(stored.shape)}", needed=layout)
        given = tuple(str(name) for name in stored)
        if len(set(given)) != len(given):
            raise BadData(f"{path}: class names repeat: {_listed(given)}", needed="one name a class")
    if "labels" not in arrays:
        return ImageSet(source, names, None, given if classes is None else classes, items)
    stored = arrays["labels"]
    if stored.dtype.kind not in "iu" or stored.shape != (len(pixels),):
        raise BadData(f"{path}: labels is {stored.dtype} {list(stored.shape)} for {len(pixels)} images", needed=layout)
    # Check the labels against the file's own classes first, since they are about to be looked up in them.
    labels = tuple(int(label) for label in stored.tolist())
    own = ImageSet(source, names, labels, classes if given is None else given, items)
    if classes is None or given is None:
        return own
    label_of = _match_classes(source, given, classes)
    return ImageSet(source, names, tuple(label_of[label] for label in labels), classes, items)
