"""The one command of a bundle: `python3 runner.py finish`. See README.md beside it.

It looks at the code in lib/ before any of it is imported, so it needs nothing but Python, and it parses under versions
that the rest does not support.
"""

import sys

# Python looks beside a script first. Nothing there is checked yet, and a stray json.py or tensorrt.py would be taken.
if __name__ == "__main__":
    del sys.path[0]

import hashlib
import json
from pathlib import Path

LEAST_PYTHON = (3, 8)
UNAVAILABLE, UNUSABLE = 3, 5


def damaged(folder: Path) -> str:
    """What is wrong with the code in lib/, or nothing. The rest of the bundle is checked by that code."""
    try:
        files = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))["files"]
        named = {name: facts["sha256"] for name, facts in files.items() if name.startswith("lib/")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"bundle.json cannot be read ({error})"
    for name, wanted in sorted(named.items()):
        if ".." in name.split("/"):
            return f"bundle.json names {name}, which is outside"
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        if found != wanted:
            return f"{name} has SHA-256 {found[:12]}..., bundle.json says {str(wanted)[:12]}..."
    for path in sorted((folder / "lib").rglob("*")):
        # A link to a folder counts: Python would import from it, though `rglob` does not look into it.
        if (path.is_symlink() or not path.is_dir()) and path.relative_to(folder).as_posix() not in named:
            return f"{path.relative_to(folder).as_posix()} is not part of the bundle"
    return "" if named else "bundle.json names no code"


def say(text: str) -> None:
    """Tell the person at the board."""
    sys.stderr.write(f"Error: {text}\n")


def main() -> int:
    """Check lib/, then run it."""
    folder = Path(__file__).resolve().parent
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # where a terminal cannot show a file's name
    if sys.version_info < LEAST_PYTHON:
        say(f"this is Python {sys.version.split()[0]}. Needed: 3.8 or later.")
        return UNAVAILABLE
    wrong = damaged(folder)
    if wrong:
        say(f"{wrong}. Needed: the bundle as it was packed. Copy the archive again and unpack it into an empty folder.")
        return UNUSABLE
    try:
        import numpy  # noqa: F401
    except ImportError as error:
        say(f"NumPy does not import ({error}). Needed: NumPy; on a Jetson: sudo apt install python3-numpy")
        return UNAVAILABLE
    # Compiled files beside the code would outlive it: an archive's times are all the same, so Python could not tell.
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder / "lib"))
    from swin_deploy.device.finish import main as finish

    return finish(sys.argv[1:], folder)


if __name__ == "__main__":
    sys.exit(main())
