"""One image wherever it lies: a file, a slice of a plain tar, bytes in memory, or a row of an array."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from calib.errors import BadData

__all__ = ["ArrayRow", "FileImage", "ImageSource", "MemoryImage", "TarSlice", "decode_rgb"]

# Pillow picks a decoder by content, not by suffix. Its PostScript decoder runs Ghostscript, so the formats of the
# suffixes that we accept (and GIF, which is found under the wrong suffix in the wild) are the only ones tried.
_FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP", "GIF")

# What Pillow's decoders raise on damaged bytes, seen by cutting small files of each format at every length.
_DECODE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, struct.error)


class ImageSource(Protocol):
    """Where one image comes from."""

    @property
    def where(self) -> str:
        """The place as a user would look it up, for error messages."""
        ...

    def content(self) -> bytes:
        """The bytes that stand for this image in a fingerprint.

        Raises:
            BadData: they cannot be read any more.
        """
        ...

    def pixels(self) -> npt.NDArray[np.uint8]:
        """The image, uint8 [H, W, 3], RGB.

        Raises:
            BadData: the image is broken.
        """
        ...


def decode_rgb(content: bytes, where: str) -> npt.NDArray[np.uint8]:
    """Decode an image file's bytes to uint8 [H, W, 3], RGB.

    Grey, palette and CMYK images are converted, alpha is dropped, and of an animation the first frame is taken.
    The EXIF orientation is deliberately not applied: the usual training loaders (torchvision's ImageFolder,
    timm) do not apply it, so a model has seen its training images as they are stored.

    Args:
        content: The encoded file.
        where: Its name, for errors.

    Raises:
        BadData: the bytes are no image of a known kind, are truncated, or hold more than 8 bits a channel.
            Damage inside a JPEG that still decodes to its last row cannot be noticed.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise BadData(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is switched on in this process",
            needed="Pillow's own default, so that a truncated image cannot pass for a whole one",
            do="Find the import that sets it and undo it",
        )
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.mode in ("I", "F") or image.mode.startswith("I;"):
                raise BadData(
                    f"{where} has more than 8 bits a channel (mode {image.mode})",
                    needed="an 8-bit image; converting would clip its values",
                    do="Convert it to 8 bits as the training data was",
                )
            if image.mode == "P" and "transparency" in image.info:
                # The same colours as a direct conversion, without Pillow's warning about the dropped alpha.
                rgb = image.convert("RGBA").convert("RGB")
            else:
                rgb = image.convert("RGB")
            return np.array(rgb, dtype=np.uint8)  # [H, W, 3]
    except UnidentifiedImageError as error:
        raise BadData(
            f"{where} is no image that can be read",
            needed="a JPEG, PNG, BMP, PPM, TIFF or WebP file",
            do="Replace or remove it",
        ) from error
    except (*_DECODE_ERRORS, Image.DecompressionBombError) as error:
        raise BadData(
            f"{where} is a broken image: {error}", needed="a whole file", do="Replace or remove it"
        ) from error


@dataclass(frozen=True)
class FileImage:
    """An image file on disk.

    Attributes:
        path: The file.
    """

    path: Path

    @property
    def where(self) -> str:
        """The file's path."""
        return str(self.path)

    def content(self) -> bytes:
        """The file's bytes.

        Raises:
            BadData: the file cannot be read.
        """
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise BadData(
                f"{self.path} cannot be read: {error.strerror or error}", needed="a readable image file"
            ) from error

    def pixels(self) -> npt.NDArray[np.uint8]:
        """The decoded file; see `decode_rgb`."""
        return decode_rgb(self.content(), self.where)


@dataclass(frozen=True)
class TarSlice:
    """An image file inside an uncompressed tar, read in place.

    Attributes:
        archive: The tar.
        member: The member's name in it.
        offset: First byte of the member's data in the tar.
        size: Bytes of data.
    """

    archive: Path
    member: str
    offset: int
    size: int

    @property
    def where(self) -> str:
        """The archive and the member's name."""
        return f"{self.archive}: {self.member}"

    def content(self) -> bytes:
        """The member's bytes.

        Raises:
            BadData: the archive cannot be read, or has become shorter.
        """
        try:
            with self.archive.open("rb") as handle:
                handle.seek(self.offset)
                content = handle.read(self.size)
        except OSError as error:
            raise BadData(
                f"{self.archive} cannot be read: {error.strerror or error}", needed="a readable tar"
            ) from error
        if len(content) != self.size:
            raise BadData(f"{self.where} ends early", needed="a whole tar", do="Copy the archive again")
        return content

    def pixels(self) -> npt.NDArray[np.uint8]:
        """The decoded member; see `decode_rgb`."""
        return decode_rgb(self.content(), self.where)


@dataclass(frozen=True)
class MemoryImage:
    """An encoded image held in memory, for archives that cannot be read at a random place.

    Attributes:
        where: The archive and the member's name.
        encoded: The image file's bytes.
    """

    where: str
    encoded: bytes = field(repr=False)

    def content(self) -> bytes:
        """The encoded bytes."""
        return self.encoded

    def pixels(self) -> npt.NDArray[np.uint8]:
        """The decoded image; see `decode_rgb`."""
        return decode_rgb(self.encoded, self.where)


@dataclass(frozen=True, eq=False)
class ArrayRow:
    """One image of an array that is in memory.

    Attributes:
        where: The array's file and the row.
        array: uint8 [N, H, W, 3], shared by all rows.
        row: Index into it.
    """

    where: str
    array: npt.NDArray[np.uint8] = field(repr=False)
    row: int

    def content(self) -> bytes:
        """The height and width, then the raw pixels: two shapes of the same bytes are different images."""
        height, width = self.array.shape[1:3]
        return struct.pack("<QQ", height, width) + np.ascontiguousarray(self.array[self.row]).tobytes()

    def pixels(self) -> npt.NDArray[np.uint8]:
        """A copy of the row, so that no caller can change the set."""
        return np.array(self.array[self.row], dtype=np.uint8)  # [H, W, 3]
