"""Every name and keyword that the builder and the runner use exists in the real bindings of the version.

The records are compared with the real bindings, and the builder and the runner are driven against imitations that have
what the records have and nothing else.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorrt_fakes import FakeDriver, fake_tensorrt

from swin_deploy.artifact import Precision
from swin_deploy.device import cuda_memory, tensorrt_session
from swin_deploy.device.build_job import BatchProfile, BuildJob
from swin_deploy.device.plan_sidecar import sidecar_of, sidecar_path
from swin_deploy.device.tensorrt_build import build
from swin_deploy.device.tensorrt_session import open_plan
from swin_deploy.device.tensorrt_versions import ApiTraits, table, traits_of
from tests.device.bindings.record import FOLDER, SOURCES, Source, Unreadable, download, read_wheel

BATCHES = BatchProfile(1, 2, 4)
IMAGES = np.ones((2, 3, 4, 4), np.float32)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheels")


def _identity(source: Source) -> str:
    return f"{source.package}-{source.version}"


@pytest.mark.parametrize(
    "source",
    # Old bindings lie in one wheel with their libraries, half a gigabyte, for one Python.
    [pytest.param(source, marks=pytest.mark.slow if source.python else ()) for source in SOURCES],
    ids=_identity,
)
def test_the_record_is_what_the_real_bindings_have(source: Source, wheels: Path) -> None:
    try:
        found = read_wheel(source, download(source, wheels))
    except Unreadable as error:
        pytest.skip(str(error))
    assert found == json.loads(source.record.read_text(encoding="utf-8"))


def test_every_row_of_the_version_table_has_a_record() -> None:
    assert {traits_of(source.package, source.version) for source in SOURCES} == set(table())
    assert {path.name for path in FOLDER.glob("*.json")} == {source.record.name for source in SOURCES}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    driver = FakeDriver("8.6")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    monkeypatch.setattr(cuda_memory, "_initialised", lambda library: driver)
    return driver


def build_and_run(
    source: Source, precision: Precision, folder: Path, patch: pytest.MonkeyPatch, driver: FakeDriver, **changes: Any
) -> Any:
    """Everything that the product does with a version: every option of a build, then the plan is opened and run.

    `changes` falsify the version's row.
    """
    module = fake_tensorrt(source.version, driver=driver, layers=(("/fp32/a", "FLOAT"), ("b", "FLOAT")))
    patch.setitem(sys.modules, source.package, module)
    traits = dataclasses.replace(traits_of(source.package, source.version), **changes)
    patch.setattr(tensorrt_session, "import_flavor", lambda package: (module, traits))
    job = BuildJob(
        folder / "a.onnx",
        folder / "a.plan",
        source.package,
        precision,
        BATCHES,
        compute_capabilities=("8.6",) if traits.capability_targets else (),
        workspace_mib=64,
        timing_cache=folder / "times",
        memory_limit_mib=64,
        optimization_level=1 if traits.optimization_level else None,
    )
    job.onnx_path.touch()
    report = build(job, module, traits)
    build(job, module, traits)  # with the times of the first
    sidecar = sidecar_of(report, batch=BATCHES, onnx=job.onnx_path, plan=job.out)
    sidecar_path(job.out).write_text(json.dumps(sidecar.facts()))
    for graph in (False, True):
        with open_plan(job.out, flavor=source.package, cuda_graph=graph) as session:
            for _ in range(3):
                outputs, _ = session.timed(IMAGES)
                np.testing.assert_array_equal(outputs["logits"], [[48, 1], [48, 1]])
            assert session.device_bytes() > 1000
            json.loads(session.inspector())
    return module.asked


def _precisions(traits: ApiTraits) -> list[Precision]:
    return [p for p in Precision if not (traits.precision_flags and p in (Precision.BF16, Precision.FP8))]


@pytest.mark.parametrize("source", SOURCES, ids=_identity)
def test_the_builder_and_the_runner_use_only_what_the_version_has(
    source: Source, gpu: FakeDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traits = traits_of(source.package, source.version)
    for precision in _precisions(traits):
        asked = build_and_run(source, precision, tmp_path, monkeypatch, gpu)
        assert ("FP16" in asked["flags"]) == (traits.precision_flags and precision is not Precision.FP32)
        assert asked.get("shape_kernels") == ("EAGER" if source.package == "tensorrt_rtx" else None)
    assert gpu.launches
    assert not gpu.memory and not gpu.pinned and not gpu.held


# What a row must not say, since the version lacks the name that it would ask for.
_OLD: list[dict[str, Any]] = [
    {"strongly_typed": True},
    {"capability_targets": True},
    {"shape_kernels": True},
    {"context_memory": "device_memory_size_v2"},
]
_NEW: list[dict[str, Any]] = [
    {"precision_flags": True},
    {"explicit_batch": True},
    {"context_memory": "device_memory_size"},
]
_MISREAD: dict[str, list[dict[str, Any]]] = {
    "8.5.3.1": [*_OLD, {"tactic_memory": True}, {"optimization_level": True}],
    "8.6.1": _OLD,
    "10.3.0": [{"capability_targets": True}, {"shape_kernels": True}],
    "10.13.3.9": [{"capability_targets": True}, {"shape_kernels": True}],
    "11.4.0.106": [*_NEW, {"capability_targets": True}, {"tactics_off": ("CUDNN",)}],
    "1.6.1.120": [*_NEW, {"tactics_off": ("CUDNN",)}],
    "1.7.1.116": [*_NEW, {"tactics_off": ("CUDNN",)}],
}


@pytest.mark.parametrize(
    ("source", "changes"),
    [(source, changes) for source in SOURCES for changes in _MISREAD[source.version]],
    ids=lambda value: _identity(value) if isinstance(value, Source) else next(iter(value)),
)
def test_a_misread_version_table_would_be_noticed(
    source: Source, changes: dict[str, Any], gpu: FakeDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AttributeError):
        build_and_run(source, Precision.FP16, tmp_path, monkeypatch, gpu, **changes)


@pytest.mark.parametrize("source", SOURCES, ids=_identity)
def test_a_misspelt_name_a_missing_argument_and_an_unknown_keyword_are_noticed(source: Source) -> None:
    module = fake_tensorrt(source.version)
    builder = module.Builder(module.ILogger())
    config = builder.create_builder_config()
    cache = config.create_timing_cache(b"")
    with pytest.raises(AttributeError, match="set_memory_pool_limits"):
        config.set_memory_pool_limits(module.MemoryPoolType.WORKSPACE, 1)
    with pytest.raises(AttributeError, match="profiling_verbosities"):
        config.profiling_verbosities = 1
    with pytest.raises(AttributeError, match="WORKSPACES"):
        _ = module.MemoryPoolType.WORKSPACES
    with pytest.raises(AttributeError, match="Bilder"):
        _ = module.Bilder
    with pytest.raises(TypeError, match="set_timing_cache"):
        config.set_timing_cache(cache)
    with pytest.raises(TypeError, match="set_timing_cache"):
        config.set_timing_cache(cache, ignore_mismatches=False)
    with pytest.raises(TypeError, match="create_network"):
        builder.create_network(flag=1)
    with pytest.raises(TypeError, match="Builder"):
        module.Builder()
    with pytest.raises(AttributeError, match="can be set"):
        builder.logger = None  # there, but read-only


def test_calls_that_an_older_runner_used_are_gone_where_the_record_says_so() -> None:
    engine = fake_tensorrt("11.4.0.106").Runtime(None).deserialize_cuda_engine(b"plan")
    for name in ("num_bindings", "get_binding_shape", "binding_is_input"):
        with pytest.raises(AttributeError, match=name):
            getattr(engine, name)
        with pytest.raises((AttributeError, NotImplementedError)):  # 8.5 has them, and nothing here acts them out
            getattr(fake_tensorrt("8.5.3.1").Runtime(None).deserialize_cuda_engine(b"plan"), name)
