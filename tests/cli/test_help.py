"""Help is quick because nothing heavy is imported for it, and every option says what it does."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import click
import pytest

import cli.main

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "build",
    "inspect",
    "validate",
    "audit",
    "bench",
    "bisect",
    "bundle",
    "finish",
    "report",
    "compare",
    "doctor",
)


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS), ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys, cli.main\n"
        f"status = cli.main.status_of({arguments!r})\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'numpy', 'PIL', 'rich', 'safetensors'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy)); sys.exit(status)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
    assert "HEAVY []" in run.stdout


def test_every_command_is_listed_and_every_option_has_help() -> None:
    assert tuple(cli.main.program.list_commands(click.Context(cli.main.program))) == COMMANDS
    for name in COMMANDS:
        command = importlib.import_module(f"cli.{name}").command
        assert command.name == name and command.help
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.name} has no help"


def test_the_command_lists_its_choices_as_the_recipe_knows_them() -> None:
    from cli.build import command
    from swin_deploy.recipe import TARGETS

    (target,) = [parameter for parameter in command.params if parameter.name == "target"]
    assert isinstance(target.type, click.Choice) and tuple(target.type.choices) == TARGETS
