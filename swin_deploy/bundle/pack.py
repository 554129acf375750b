"""Pack a run into one archive that finishes itself on the device."""

from __future__ import annotations

import io
import json
import re
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import swin_deploy
from swin_deploy.atomic import disk_faults, file_sha256, replacing, write_text
from swin_deploy.bundle.board_readme import board_readme
from swin_deploy.bundle.closure import import_closure
from swin_deploy.bundle.fixtures import Packed, pack_fixtures
from swin_deploy.bundle.graphs import PackedGraph, asked_precisions, check_graph, make_graphs
from swin_deploy.bundle.kernel_programs import pack_programs
from swin_deploy.bundle.targets import TARGETS, Target, releases_of
from swin_deploy.bundle.triton_repository import ONNX_REPOSITORY, PLAN_REPOSITORY, TritonModel, write_model
from swin_deploy.device.bundle_file import BUNDLE_FILE, Bundle, BundleEngine, BundleProgram, FileFacts
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.manifest import FILE_NAME, Manifest, read_manifest

__all__ = ["PackOptions", "pack"]

Say = Callable[[str], None]
_ROOT = Path(swin_deploy.__file__).resolve().parent.parent
_RUNNER = Path("swin_deploy/device/runner.py")
# Every file has this time, so that one run gives one archive: 1980, the first that a FAT disk knows.
_TIME = 315532800


@dataclass(frozen=True)
class PackOptions:
    """What to pack.

    Attributes:
        target: One of `TARGETS`.
        tensorrt: A TensorRT version of the target, or `None` for all that it has.
        precisions: Names of precisions; empty for all of the run that the target has.
        data: Images for the fixtures in place of the run's own.
        kernels: Whether the toolkit's own kernels are compiled for the target and packed too.
    """

    target: str
    tensorrt: str | None = None
    precisions: tuple[str, ...] = ()
    data: str | None = None
    kernels: bool = False

    def __post_init__(self) -> None:
        """Refuse an unknown target."""
        if self.target not in TARGETS:
            raise UsageFault(f"--target {self.target}", needed="one of " + ", ".join(TARGETS))


def pack(folder: Path, out: Path, options: PackOptions, say: Say) -> Bundle:
    """Write the archive `out` of the run in `folder`.

    Every graph is replayed in ONNX Runtime before it is packed.

    Args:
        folder: A run of `swin-deploy build`.
        out: The archive; an earlier one is replaced.
        options: What to pack.
        say: Told of progress, a sentence at a time.

    Returns:
        What the bundle says of itself.

    Raises:
        BadInput: the run is not finished or damaged, or holds no graph of what is to be packed.
        BadData: the images of the fixtures are unusable.
        GateFailed: a graph is not close enough to the oracle on the fixtures.
        UsageFault: a combination that the target does not have.
    """
    manifest = read_manifest(folder)
    if manifest.status is None:
        raise BadInput(f"the run in {folder} is not finished", needed="a finished run", do="Build with --resume first")
    target = TARGETS[options.target]
    releases = releases_of(target, options.tensorrt)
    precisions = asked_precisions(manifest, target, options.precisions)
    packed = pack_fixtures(folder, manifest, options.data)
    say(f"fixtures: {packed.source}")
    graphs = make_graphs(folder, manifest, precisions, releases)
    with tempfile.TemporaryDirectory(prefix="swin-deploy-bundle-") as scratch:
        place = Path(scratch)
        bundle = _fill(place, folder if options.kernels else None, manifest, target, packed, graphs, say)
        write_text(place / BUNDLE_FILE, json.dumps(bundle.facts(), indent=1, allow_nan=False) + "\n")
        _archive(place, out, f"{bundle.name}-{target.name}")
    return bundle


def _fill(
    place: Path,
    fused_from: Path | None,
    manifest: Manifest,
    target: Target,
    packed: Packed,
    graphs: tuple[PackedGraph, ...],
    say: Say,
) -> Bundle:
    """Write every file of the bundle but `bundle.json`; kernel programs only of the run `fused_from`."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(str(manifest.checkpoint["file"])).stem).strip("_") or "model"
    batches = tuple(int(size) for size in manifest.recipe["batch"])
    assert len(batches) == 3
    classes = tuple(manifest.checkpoint.get("classes") or ())
    fixtures = packed.fixtures
    oracle = {output: f"fixtures/oracle-{position}.npy" for position, output in enumerate(fixtures.oracle)}
    _save(place / "fixtures/images.npy", fixtures.images)
    for output, file in oracle.items():
        _save(place / file, fixtures.oracle[output])
    engines = []
    checked = set()
    for graph in graphs:
        file, triton = graph.file, None
        if target.name == "triton":
            model = TritonModel(
                f"{name}_{graph.name}",
                graph.model,
                batches,
                {output: values.shape[1:] for output, values in fixtures.oracle.items()},
                classes,
            )
            write_model(model, place)
            # Served as it stands, and what the plan is built from: one file for both.
            file, triton = f"{ONNX_REPOSITORY}/{model.name}/1/model.onnx", f"{PLAN_REPOSITORY}/{model.name}"
        if file not in checked:
            _save_graph(place / file, graph)
            check_graph(graph, place / file, fixtures, batches)
            say(f"{file}: as close to the original as the gates ask, on ONNX Runtime")
            checked.add(file)
        engines.append(
            BundleEngine(
                name=graph.name,
                precision=graph.precision,
                profile=graph.profile,
                onnx=file,
                engine_gate=graph.engine_gate,
                graph_gate=graph.graph_gate,
                asked=graph.asked,
                activation_mib=graph.activation_mib,
                triton=triton,
            )
        )
    programs: tuple[BundleProgram, ...] = ()
    if fused_from is not None:
        precisions = tuple(dict.fromkeys(graph.precision for graph in graphs))
        programs = pack_programs(place, fused_from, manifest, target, precisions, fixtures, say)
    _copy_code(place)
    write_text(place / "preprocessing.json", json.dumps(manifest.evaluation["preprocess"], indent=1) + "\n")
    write_text(place / FILE_NAME, json.dumps(manifest.to_json(), indent=1, allow_nan=False) + "\n")
    if classes:
        write_text(place / "labels.txt", "".join(f"{label}\n" for label in classes))
    bundle = Bundle(
        name=name,
        target=target.name,
        packages=target.packages,
        model=_model_facts(manifest, fixtures.images.shape[1:]),
        batches=batches,
        engines=tuple(engines),
        images="fixtures/images.npy",
        oracle=oracle,
        image_source=packed.source,
        labels="labels.txt" if classes else None,
        limits=target.limits,
        files=_files(place),
        made_by=f"swin-deploy {swin_deploy.__version__}",
        programs=programs,
    )
    write_text(place / "README.md", board_readme(bundle, target))
    return replace(bundle, files=_files(place))


def _model_facts(manifest: Manifest, image: tuple[int, ...]) -> dict[str, Any]:
    reference = manifest.step("reference")
    architecture = "" if reference is None else str(reference.facts.get("architecture", ""))
    return {
        "task": manifest.task,
        "architecture": architecture,
        "image": [int(side) for side in image],
        "checkpoint": str(manifest.checkpoint["file"]),
        "checkpoint_sha256": str(manifest.checkpoint["sha256"]),
    }


def _save(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk_faults(path):
        np.save(path, values)


def _save_graph(path: Path, graph: PackedGraph) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk_faults(path):
        path.write_bytes(graph.model.SerializeToString(deterministic=True))


def _copy_code(place: Path) -> None:
    """`runner.py`, and in `lib/` the very files that it runs."""
    write_text(place / "runner.py", (_ROOT / _RUNNER).read_text(encoding="utf-8"))
    for file in import_closure():
        write_text(place / "lib" / file, (_ROOT / file).read_text(encoding="utf-8"))


def _files(place: Path) -> dict[str, FileFacts]:
    found = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if path.is_file() and name != BUNDLE_FILE:
            found[name] = FileFacts(file_sha256(path), path.stat().st_size)
    return found


def _archive(place: Path, out: Path, top: str) -> None:
    """A tar of everything below `place`, in a folder `top`: sorted, and with nothing of this machine in it."""
    with replacing(out) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in [place, *sorted(place.rglob("*"))]:
            entry = tarfile.TarInfo(Path(top, path.relative_to(place)).as_posix())
            entry.mtime = _TIME
            if path.is_dir():
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
            else:
                content = path.read_bytes()
                entry.size, entry.mode = len(content), 0o644
                archive.addfile(entry, io.BytesIO(content))
