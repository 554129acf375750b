"""Where INT8 scales come from: the images, the transform, the method and the graph, to the bit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from calib.errors import BadData
from calib.images import ImageSet
from calib.preprocess import Preprocess
from calib.strict_json import json_copy, parse_json, require_record

__all__ = ["SOURCE_KINDS", "CalibrationRecord", "record_from_text", "record_to_text"]

SCHEMA_VERSION = 1
SOURCE_KINDS = ("folder", "tar", "npz")
"""What calibration images may come from."""

_WHAT = "calibration record"
_KEYS = (
    "schema_version",
    "source_kind",
    "source_name",
    "available",
    "used",
    "limit",
    "seed",
    "balanced",
    "images",
    "preprocess",
    "method",
    "graph_sha256",
)


@dataclass(frozen=True)
class CalibrationRecord:
    """Everything that the scales of an INT8 graph follow from.

    Attributes:
        source_kind: One of `SOURCE_KINDS`.
        source_name: The data's file or folder name, without the way to it, which differs between machines.
        available: How many images the source holds.
        limit: How many were asked for at most; `None` for all.
        seed: What chose them under the limit, see `calib.images.open_images`; `None` without a limit.
        balanced: Whether the limit was shared out over classes; `False` where there are none.
        images: Name and SHA-256 (64 hexadecimal digits, see `ImageSet.content_hashes`) of each image used, in order.
        preprocess: `Preprocess.to_json` of the transform. Read-only, as is the next.
        method: How scales were found: methods with their options, tools with their versions; any JSON object.
        graph_sha256: SHA-256 of the file of the graph that the images were run through.
    """

    source_kind: str
    source_name: str
    available: int
    limit: int | None
    seed: int | None
    balanced: bool
    images: tuple[tuple[str, str], ...]
    preprocess: Mapping[str, Any]
    method: Mapping[str, Any]
    graph_sha256: str

    def __post_init__(self) -> None:
        """Check every field and take read-only copies of the mappings.

        Raises:
            BadData: a field cannot be; the message names it.
        """
        if self.source_kind not in SOURCE_KINDS:
            raise BadData(f"{_WHAT}: source_kind is {self.source_kind!r}", needed=f"one of {', '.join(SOURCE_KINDS)}")
        if not isinstance(self.source_name, str) or not self.source_name or set(self.source_name) & {"/", "\\"}:
            raise BadData(f"{_WHAT}: source_name is {self.source_name!r}", needed="a name without a path")
        self._check_images()
        self._check_choice()
        if not isinstance(self.preprocess, Mapping):
            raise BadData(f"{_WHAT}: preprocess is {self.preprocess!r}", needed="what Preprocess.to_json gives")
        if not isinstance(self.method, Mapping) or not self.method:
            raise BadData(f"{_WHAT}: method is {self.method!r}", needed="an object that says how scales were found")
        if not _is_sha256(self.graph_sha256):
            raise BadData(f"{_WHAT}: graph_sha256 is {self.graph_sha256!r}", needed="64 hexadecimal digits")
        transform = Preprocess.from_json(self.preprocess).to_json()
        object.__setattr__(self, "preprocess", MappingProxyType(transform))
        object.__setattr__(self, "method", MappingProxyType(json_copy(dict(self.method), f"{_WHAT}: method")))

    def _check_images(self) -> None:
        if not isinstance(self.images, tuple) or not self.images:
            raise BadData(f"{_WHAT}: it names no image", needed="a name and a SHA-256 of each")
        for image in self.images:
            pair = isinstance(image, tuple) and len(image) == 2
            if not pair or not isinstance(image[0], str) or not image[0] or not _is_sha256(image[1]):
                raise BadData(
                    f"{_WHAT}: an image is {image!r}", needed="its name and its SHA-256, 64 hexadecimal digits"
                )

    def _check_choice(self) -> None:
        if not _is_count(self.available, self.used):
            raise BadData(f"{_WHAT}: available is {self.available!r}", needed=f"a whole number, at least {self.used}")
        if not isinstance(self.balanced, bool):
            raise BadData(f"{_WHAT}: balanced is {self.balanced!r}", needed="true or false")
        if self.limit is None:
            if self.seed is not None or self.balanced:
                raise BadData(f"{_WHAT}: a seed or a balance without a limit", needed="neither, or a limit")
        elif not _is_count(self.limit, 1):
            raise BadData(f"{_WHAT}: limit is {self.limit!r}", needed="a whole number, at least 1, or null")
        elif not _is_count(self.seed, 0):
            raise BadData(f"{_WHAT}: seed is {self.seed!r}", needed="a whole number, at least 0, beside a limit")
        expected = self.available if self.limit is None else min(self.limit, self.available)
        if self.used != expected:
            raise BadData(
                f"{_WHAT}: {self.used} images are used of {self.available} under a limit of {self.limit}",
                needed=f"{expected}",
            )

    @classmethod
    def of(
        cls,
        images: ImageSet,
        *,
        available: int,
        limit: int | None,
        seed: int,
        preprocess: Preprocess,
        method: Mapping[str, Any],
        graph_sha256: str,
    ) -> CalibrationRecord:
        """The record of a calibration on a set that `open_images` opened.

        Args:
            images: The images used.
            available: How many images the source holds without the limit.
            limit: As it was given to `open_images`.
            seed: Likewise; it counts only under a limit.
            preprocess: The transform.
            method: See the attribute.
            graph_sha256: See the attribute.

        Raises:
            BadData: an image cannot be read any more, or the numbers do not fit each other.
        """
        place = Path(images.source)
        kind = "folder" if place.is_dir() else "npz" if place.suffix.lower() == ".npz" else "tar"
        return cls(
            source_kind=kind,
            source_name=place.name or place.resolve().name or "root",  # "." and "/" have no name
            available=available,
            limit=limit,
            seed=None if limit is None else seed,
            balanced=limit is not None and images.labels is not None,
            images=tuple(zip(images.names, images.content_hashes(), strict=True)),
            preprocess=preprocess.to_json(),
            method=method,
            graph_sha256=graph_sha256,
        )

    @property
    def used(self) -> int:
        """How many images were used."""
        return len(self.images)

    def to_json(self) -> dict[str, Any]:
        """All fields, the number of images used and the schema's version as JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "source_kind": self.source_kind,
            "source_name": self.source_name,
            "available": self.available,
            "used": self.used,
            "limit": self.limit,
            "seed": self.seed,
            "balanced": self.balanced,
            "images": [{"name": name, "sha256": content} for name, content in self.images],
            "preprocess": json_copy(dict(self.preprocess), "preprocess"),
            "method": json_copy(dict(self.method), "method"),
            "graph_sha256": self.graph_sha256,
        }

    @classmethod
    def from_json(cls, record: object) -> CalibrationRecord:
        """Read what `to_json` wrote.

        Raises:
            BadData: another schema version, a missing or unknown key, or an unfit value.
        """
        found = dict(require_record(record, _WHAT, _KEYS, SCHEMA_VERSION))
        images, used = found.pop("images"), found.pop("used")
        del found["schema_version"]
        if not isinstance(images, list):
            raise BadData(f"{_WHAT}: images is {images!r}", needed="a list of names with their SHA-256")
        pairs = []
        for image in images:
            if not isinstance(image, dict) or set(image) != {"name", "sha256"}:
                raise BadData(f"{_WHAT}: an image is {image!r}", needed="an object with exactly the keys name, sha256")
            pairs.append((image["name"], image["sha256"]))
        read = cls(images=tuple(pairs), **found)
        if not _is_count(used, 1) or used != read.used:
            raise BadData(f"{_WHAT}: used is {used!r}, and {read.used} images are named", needed="the same number")
        return read

    def summary(self) -> str:
        """One line for people."""
        if self.limit is None:
            chosen = "all of them"
        else:
            over = "balanced over the classes, " if self.balanced else ""
            chosen = f"{over}chosen by seed {self.seed}"
        return f"{self.used} of {self.available} images of {self.source_name} ({self.source_kind}), {chosen}"

    def differences(self, other: CalibrationRecord) -> tuple[str, ...]:
        """What would make the scales of the two differ, a phrase each; nothing if `other`'s scales fit this record.

        The images are compared by content and order. Where they lie, what they are called, and how they were chosen out
        of how many says nothing beyond that: a folder and a tar of it are the same data.

        Args:
            other: The record of before, of which the phrases say "was".
        """
        found = [_images_difference(self.images, other.images)] if self._contents != other._contents else []
        found += [f"the transform: {each}" for each in _value_differences(self.preprocess, other.preprocess)]
        found += [f"the method: {each}" for each in _value_differences(self.method, other.method)]
        if self.graph_sha256 != other.graph_sha256:
            found.append(
                f"the graph: its SHA-256 starts with {self.graph_sha256[:12]} and did with {other.graph_sha256[:12]}"
            )
        return tuple(found)

    def require_same(self, other: CalibrationRecord) -> None:
        """Refuse scales that were found otherwise than this record says.

        Args:
            other: The record that the scales came with.

        Raises:
            BadData: there is a difference; the message names them all.
        """
        found = self.differences(other)
        if found:
            raise BadData(
                f"the scales come from another calibration: {'; '.join(found)}",
                needed="the same images, transform, method and graph",
                do="Calibrate again, or give back what was used then",
            )

    @property
    def _contents(self) -> tuple[str, ...]:
        return tuple(content for _, content in self.images)


def record_to_text(record: CalibrationRecord) -> str:
    """The record as JSON text. Numbers are written with all digits, so reading gives an equal record."""
    # In ASCII, since file names need not be text that UTF-8 can hold.
    return json.dumps(record.to_json(), indent=1, allow_nan=False) + "\n"


def record_from_text(text: str) -> CalibrationRecord:
    """Read what `record_to_text` wrote.

    Raises:
        BadData: not JSON, a key twice in one object, or whatever `CalibrationRecord.from_json` refuses.
    """
    return CalibrationRecord.from_json(parse_json(text, _WHAT))


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _images_difference(images: tuple[tuple[str, str], ...], before: tuple[tuple[str, str], ...]) -> str:
    unmatched = Counter(content for _, content in before)
    strangers = []
    for name, content in images:
        if unmatched[content]:
            unmatched[content] -= 1
        else:
            strangers.append(name)
    if strangers:
        text = f"{len(strangers)} of {len(images)} differ, first {strangers[0]}"
    elif len(images) == len(before):
        return f"the images: the same {len(images)} in another order"
    else:
        text = "all of them were among those used"
    return f"the images: {text}" + (
        "" if len(images) == len(before) else f"; there are {len(images)} and were {len(before)}"
    )


def _value_differences(now: Mapping[str, Any], before: Mapping[str, Any], inside: str = "") -> list[str]:
    """One phrase for each key, at any depth of objects, that has another value."""
    found = []
    for key in [*now, *(key for key in before if key not in now)]:
        path = f"{inside}{key}"
        if key not in now:
            found.append(f"{path} is not there and was {_shown(before[key])}")
        elif key not in before:
            found.append(f"{path} is {_shown(now[key])} and was not there")
        elif isinstance(now[key], dict) and isinstance(before[key], dict):
            found += _value_differences(now[key], before[key], f"{path}.")
        elif _shown(now[key]) != _shown(before[key]):  # as JSON: true is not 1
            found.append(f"{path} is {_shown(now[key])} and was {_shown(before[key])}")
    return found


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
