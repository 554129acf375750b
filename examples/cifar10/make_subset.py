"""Make `eval.tar.xz`: 200 test images of each CIFAR-10 class, chosen by a hash and packed the same way every time.

    python examples/cifar10/make_subset.py cifar10_test_10000.tar.xz examples/cifar10/eval.tar.xz

The source is a tar of `test/<class>/<number>.jpg`. An image is chosen when the SHA-256 of `<seed>:<name>` is among
the smallest of its class: unlike a random generator's choice, this is the same on every Python version, and does not
depend on the order of the files in the source.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import tarfile
from collections import defaultdict
from pathlib import Path, PurePosixPath

SEED = 2009
PER_CLASS = 200


def chosen(names: list[str], per_class: int = PER_CLASS, seed: int = SEED) -> list[str]:
    """The `per_class` names of each class (the parent folder) with the smallest hash, sorted.

    Raises:
        ValueError: a class has fewer than `per_class` images.
    """
    by_class: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        by_class[PurePosixPath(name).parent.name].append(name)
    picked: list[str] = []
    for label, members in sorted(by_class.items()):
        if len(members) < per_class:
            raise ValueError(f"class {label} has {len(members)} images, {per_class} are needed")
        picked += sorted(members, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())[:per_class]
    return sorted(picked)


def pack(source: Path, target: Path, per_class: int = PER_CLASS) -> int:
    """Write the chosen images of the tar `source` to `target` and return how many they are."""
    with tarfile.open(source) as archive, tarfile.open(target, "w:xz", format=tarfile.USTAR_FORMAT, preset=9) as out:
        names = [member.name for member in archive.getmembers() if member.isfile()]
        selection = chosen(names, per_class)
        for name in selection:
            handle = archive.extractfile(name)
            assert handle is not None, f"{name} was listed as a file"
            content = handle.read()
            entry = tarfile.TarInfo(name)  # no owner, no time: the archive depends on the images alone
            entry.size, entry.mode, entry.mtime = len(content), 0o644, 0
            out.addfile(entry, io.BytesIO(content))
    return len(selection)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="tar of test/<class>/<number>.jpg")
    parser.add_argument("target", type=Path, help="the .tar.xz to write")
    options = parser.parse_args()
    print(f"{pack(options.source, options.target)} images written to {options.target}")
