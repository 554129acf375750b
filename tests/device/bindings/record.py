"""Record what the real Python bindings of a TensorRT version have: classes, members, keywords and enum values.

The bindings are small wheels; the libraries they are linked against are not, and most are on no package index. So the
extension module is imported beside stand-ins for those libraries: `nm` names the functions that it wants from them,
and a compiler makes a library that has these and does nothing. Nothing can be called that way, but everything is there
to be looked at. A wheel that carries its libraries (8.5) or finds them installed is read the same way.

    python tests/device/bindings/record.py             download every wheel, write every record again
    python tests/device/bindings/record.py 10.3.0      that version only
    python tests/device/bindings/record.py --wheels FOLDER  with wheels that were downloaded before

A wheel is read by the Python it was built for: 8.5 needs a `python3.10` on the path and downloads 549 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FOLDER", "SOURCES", "Source", "Unreadable", "download", "interpreter_of", "read_wheel"]

FOLDER = Path(__file__).resolve().parent
_HERE = (sys.version_info.major, sys.version_info.minor)


@dataclass(frozen=True)
class Source:
    """Where the bindings of one version come from.

    Attributes:
        version: As the package index has it.
        project: Name on the package index.
        package: The module that users of it import.
        module: The module inside the wheel, which that one imports.
        python: The (major, minor) to read it with; `None` for the one that runs.
    """

    version: str
    project: str
    package: str = "tensorrt"
    module: str = "tensorrt_bindings"
    python: tuple[int, int] | None = None

    @property
    def record(self) -> Path:
        """The committed record."""
        return FOLDER / f"{self.package}-{self.version}.json"


SOURCES = (
    Source("8.5.3.1", "tensorrt", module="tensorrt", python=(3, 10)),
    Source("8.6.1", "tensorrt-bindings"),
    Source("10.3.0", "tensorrt-cu12-bindings"),
    Source("10.13.3.9", "tensorrt-cu12-bindings"),
    Source("11.4.0.106", "tensorrt-cu13-bindings"),
    Source("1.6.1.120", "tensorrt-rtx-cu13-bindings", "tensorrt_rtx", "tensorrt_rtx_bindings"),
    Source("1.7.1.116", "tensorrt-rtx-cu13-bindings", "tensorrt_rtx", "tensorrt_rtx_bindings"),
)

# Classes and enums that a builder and a runner touch; whichever of them a version has is recorded whole.
_CLASSES = (
    "Builder", "BuilderFlag", "ComputeCapability", "DataType", "DynamicShapesKernelSpecializationStrategy",
    "EngineInspector", "IBuilderConfig", "ICudaEngine", "IExecutionContext", "IHostMemory", "ILayer", "ILogger",
    "INetworkDefinition", "IOptimizationProfile", "IRuntimeConfig", "ITensor", "ITimingCache",
    "LayerInformationFormat", "LayerType", "MemoryPoolType", "NetworkDefinitionCreationFlag", "OnnxParser",
    "ParserError", "ProfilingVerbosity", "Runtime", "TacticSource", "TensorIOMode",
)  # fmt: skip

_DESCRIBE = r"""
import importlib, json, re, sys

def split(arguments):
    depth, parts, start = 0, [], 0
    for place, character in enumerate(arguments):
        depth += (character in "[(<{") - (character in "])>}")
        if character == "," and depth == 0:
            parts.append(arguments[start:place])
            start = place + 1
    return [part.strip() for part in [*parts, arguments[start:]] if part.strip()]

def keywords(name, text):  # of each overload, from the signatures that pybind11 puts into the docstring
    found = re.findall(rf"^(?:\d+\. )?{re.escape(name)}\((.*)\)(?: -> .*)?$", text or "", re.MULTILINE)
    overloads = [split(arguments) for arguments in found if arguments != "*args, **kwargs"]
    return [[re.split("[:=]", part)[0].strip() + ("=" if " = " in part else "") for part in one] for one in overloads]

def described(kind):
    if hasattr(kind, "__members__"):
        return {"values": {name: int(value) for name, value in kind.__members__.items()}}
    methods, properties, inner = {}, {}, {}
    for name in sorted(dir(kind)):
        if name.startswith("_") and name != "__init__":
            continue
        member = getattr(kind, name)
        if isinstance(member, property):
            properties[name] = "r" if member.fset is None else "rw"
        elif isinstance(member, type):
            inner[name] = described(member)
        elif callable(member):
            methods[name] = keywords(name, member.__doc__)
    return {"methods": methods, "properties": properties, **({"classes": inner} if inner else {})}

module = importlib.import_module(sys.argv[1])
wanted = [name for name in sys.argv[2].split(",") if hasattr(module, name)]
names = sorted(name for name in dir(module) if not name.startswith("_"))
classes = {name: described(getattr(module, name)) for name in wanted}
print(json.dumps({"version": module.__version__, "names": names, "classes": classes}))
"""


class Unreadable(Exception):
    """A wheel that cannot be had, or looked at, on this machine."""


def download(source: Source, folder: Path) -> Path:
    """Fetch the wheel of `source` into `folder` with pip, unless it lies there.

    Raises:
        Unreadable: no index is reachable, or none has it, or no Python here could read it.
    """
    interpreter_of(source)  # before half a gigabyte is fetched for nothing
    found = _wheel_in(source, folder)
    if found is None:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        if source.python is not None:
            command += ["--python-version", ".".join(map(str, source.python))]
        done = subprocess.run(
            [*command, "--dest", str(folder), f"{source.project}=={source.version}"], capture_output=True, text=True
        )
        found = _wheel_in(source, folder)
        if found is None:
            last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise Unreadable(f"{source.project} {source.version} was not downloaded: {last}")
    return found


def _wheel_in(source: Source, folder: Path) -> Path | None:
    tag = "cp{}{}".format(*(source.python or _HERE))
    name = source.project.replace("-", "_")
    return next(iter(sorted(folder.glob(f"{name}-{source.version}-{tag}-*.whl"))), None)


def interpreter_of(source: Source) -> str:
    """The Python that the wheel of `source` was built for.

    Raises:
        Unreadable: it is not on the path.
    """
    if source.python in (None, _HERE):
        return sys.executable
    name = "python{}.{}".format(*source.python)
    # A launcher of that name can stand for a version that is not there, so it is asked.
    if shutil.which(name) is None or subprocess.run([name, "-c", ""], capture_output=True).returncode:
        raise Unreadable(f"{source.project} {source.version} needs {name}, which is not on the path")
    return name


def read_wheel(source: Source, wheel: Path) -> dict[str, object]:
    """What the bindings in `wheel` have.

    Raises:
        Unreadable: the tools to stand in for the libraries are missing, or the module does not import.
    """
    python = interpreter_of(source)
    with tempfile.TemporaryDirectory(prefix="bindings-") as scratch:
        wheels, libraries = Path(scratch, "wheel"), Path(scratch, "lib")
        with zipfile.ZipFile(wheel) as archive:  # only the module: 8.5 carries its libraries too
            members = [name for name in archive.namelist() if name.startswith(source.module + "/")]
            archive.extractall(wheels, [name for name in members if "/lib" not in name])
        (extension,) = (wheels / source.module).glob("*.so")
        _stand_in(extension, libraries)
        # -S: what is installed here must not be found, since newer bindings look for their libraries' wheel.
        done = subprocess.run(
            [python, "-S", "-c", _DESCRIBE, source.module, ",".join(_CLASSES)],
            env={**os.environ, "LD_LIBRARY_PATH": str(libraries), "PYTHONPATH": str(wheels)},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise Unreadable(f"{source.module} of {source.version} does not import: {done.stderr.strip()[-400:]}")
    found: dict[str, object] = json.loads(done.stdout)
    return {"package": source.package, **found}


def _stand_in(extension: Path, libraries: Path) -> None:
    """Libraries under every name that `extension` is linked against, with every function it takes from them."""
    libraries.mkdir()
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", _said(["readelf", "--dynamic", str(extension)]))
    symbols = _said(["nm", "--dynamic", "--undefined-only", str(extension)])
    undefined = re.findall(r"^\s+U (\S+)$", symbols, re.MULTILINE)
    # Names of the C and C++ libraries have a version behind an @, and the interpreter brings its own.
    wanted = [name for name in undefined if re.fullmatch(r"(?!__|_?Py)\w+", name)]
    code = "\n".join(f"void *{name}(void) {{ return 0; }}" for name in wanted)
    for library in needed:
        if library.startswith(("libnv", "libtensorrt")):
            command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{library}", "-x", "c", "-"]
            _said([*command, "-o", str(libraries / library)], given=code)


def _said(command: list[str], given: str = "") -> str:
    try:
        return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unreadable(f"{command[0]} does not run here ({error}); a C compiler and binutils are needed") from error


def main() -> int:
    """Write the records that were asked for."""
    parser = argparse.ArgumentParser(description="Record the real bindings of TensorRT.")
    parser.add_argument("versions", nargs="*", help="versions to record; all without any")
    parser.add_argument("--wheels", type=Path, help="folder with wheels, and for downloads")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for source in SOURCES:
            if options.versions and source.version not in options.versions:
                continue
            try:
                found = read_wheel(source, download(source, options.wheels or Path(scratch)))
            except Unreadable as error:
                print(f"{source.package} {source.version}: {error}", file=sys.stderr)
                return 1
            source.record.write_text(_compact(found) + "\n", encoding="utf-8")
            print(source.record)
    return 0


def _compact(record: dict[str, object]) -> str:
    """JSON with one member a line, so that a change shows as one line."""
    text = json.dumps(record, indent=1, sort_keys=True)
    return re.sub(r"\[[^\[\]{}]*\]", lambda flat: json.dumps(json.loads(flat[0])), text)


if __name__ == "__main__":
    sys.exit(main())
