"""`swin-deploy audit` on saved logs: what it prints, and the exit status that a script goes by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cli.main

LOGS = Path(__file__).resolve().parents[1] / "device"
INT8 = LOGS / "census_int8_linears.log"
FP16 = LOGS / "census_fp16_attention.log"


def status_of(*arguments: object) -> int:
    return cli.main.status_of(["audit", *map(str, arguments)])


def test_a_log_is_shown_without_a_judgement(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(INT8) == 0
    shown = capsys.readouterr().out
    assert "asked for: not told" in shown
    assert "3: 2 int8, 1 fp16" in shown
    assert "PASS" not in shown


def test_a_log_that_is_what_was_asked_for_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(INT8, "--precision", "int8", "--linears", 2) == 0
    assert "PASS precision: 2 linears read INT8, 2 were to" in capsys.readouterr().out
    assert status_of(FP16, "--precision", "fp16", "--attentions", 1, "--require", "fused") == 0


@pytest.mark.parametrize(
    "asked", [("--precision", "int8", "--linears", 3), ("--precision", "fp8"), ("--precision", "fp32")]
)
def test_a_log_that_is_not_what_was_asked_for_ends_with_4(
    asked: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(INT8, *asked) == 4
    assert "FAIL precision" in capsys.readouterr().out


def test_the_log_of_an_fp32_build_fails_as_fp16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The negative control: an exporter that warned, wrote an FP32 engine and was timed as FP16."""
    (tmp_path / "fp32.log").write_text(FP16.read_text().replace("Datatype: Half", "Datatype: Float"))
    assert status_of(tmp_path / "fp32.log", "--precision", "fp16") == 4
    assert "6 products or convolutions are computed in FP32, and FP16 was asked for" in capsys.readouterr().out


def test_fused_is_required_only_where_it_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(FP16, "--precision", "fp16", "--attentions", 2) == 0
    assert status_of(FP16, "--precision", "fp16", "--attentions", 2, "--require", "fused") == 4
    assert "FAIL fused" in capsys.readouterr().out
    assert status_of(INT8, "--require", "fused") == 4  # how many the graph has is not known


def test_every_kernel_is_listed_with_what_it_fuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(FP16, "--layers") == 0
    shown = capsys.readouterr().out.splitlines()
    listed = [line for line in shown if line.lstrip()[:1].isdecimal()]
    assert len(listed) == 8
    assert sum("attention" in line for line in listed) == 1


def test_json_holds_figures_checks_and_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(INT8, "--precision", "int8", "--linears", 3, "--layers", "--json") == 4
    told = json.loads(capsys.readouterr().out)
    (engine,) = told["engines"]
    assert (told["schema_version"], told["status"], engine["verdict"]) == (1, 4, "FAIL")
    assert engine["census"]["gemms_by_type"]["int8"] == 2
    assert len(engine["layers"]) == engine["census"]["kernels"] == 6


def test_the_inspectors_json_is_audited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensor = {"Name": "x", "Dimensions": [1, 96], "Format/Datatype": "Row major linear FP16 format"}
    layer = {"Name": "fc/MatMul", "LayerType": "CaskGemmMatrixMultiply", "Inputs": [tensor], "Outputs": [tensor]}
    (tmp_path / "layers.json").write_text(json.dumps({"Layers": [layer], "Bindings": ["x"]}))
    assert status_of(tmp_path / "layers.json", "--precision", "fp16", "--linears", 1) == 0
    assert status_of(tmp_path / "layers.json", "--precision", "int8", "--linears", 1) == 4
    (tmp_path / "names.json").write_text('{"Layers": ["fc/MatMul"]}')
    capsys.readouterr()
    assert status_of(tmp_path / "names.json", "--precision", "fp16") == 0
    assert "INFO precision: cannot be told, 1 layers are listed by name only" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(("none.log",), 5), ((__file__,), 5), ((INT8, "--linears", 3), 2), ((INT8, "--precision", "int4"), 2), ((), 2)],
)
def test_misuse_has_its_documented_status(arguments: tuple[object, ...], status: int) -> None:
    assert status_of(*arguments) == status
