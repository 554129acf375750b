"""The `swin-deploy` command: lazily loaded subcommands, and the one place where errors become exit statuses."""

from __future__ import annotations

import importlib
import signal
import sys
from typing import NoReturn

import click

from calib.errors import ExplainedError
from swin_deploy import __version__

__all__ = ["EXIT_CODES", "main", "program"]

EXIT_CODES = """\
Exit status: 0 fine; 1 a defect of swin-deploy (with a traceback); 2 usage; 3 something needed is unavailable;
4 a gate failed; 5 unusable input (checkpoint, image, calibration data); 6 the environment (disk, memory, time limit);
130 interrupted."""

_COMMANDS = {
    "build": ("cli.build", "Take a checkpoint to engines, parity judged after every stage."),
    "inspect": ("cli.inspect", "Show what a checkpoint is, and how that was found out."),
    "validate": ("cli.validate", "Judge one artifact of a run against the oracle on your data."),
    "audit": ("cli.audit", "Show what an engine truly runs, and whether it is what was asked for."),
    "bench": ("cli.bench", "Time artifacts side by side in one run."),
    "bisect": ("cli.bisect", "Find the blocks that must stay in higher precision."),
    "bundle": ("cli.bundle", "Pack a run for a device, where it finishes itself."),
    "finish": ("cli.finish", "Finish a bundle on this device: build, prove, measure."),
    "report": ("cli.report", "Write a run's page anew."),
    "compare": ("cli.compare", "Two runs side by side."),
    "doctor": ("cli.doctor", "What this machine, and a checkpoint, are ready for."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, so that `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of a user's work."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in _COMMANDS:
            return None
        module, _ = _COMMANDS[cmd_name]
        command = importlib.import_module(module).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=LazyGroup, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="swin-deploy")
def program() -> None:
    """Take a trained Swin Transformer to NVIDIA Jetson and desktop GPUs, and prove parity at each stage."""


def main() -> NoReturn:
    """Run the command line and end the process with its documented status."""
    if hasattr(signal, "SIGPIPE"):
        # `| head` then ends us as it ends any Unix program, and never with a status that means something else.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(status_of(sys.argv[1:]))


def status_of(arguments: list[str]) -> int:
    """Run the command line on `arguments` and return its exit status; messages go to standard error."""
    try:
        result = program.main(arguments, prog_name="swin-deploy", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as asked:
        return asked.exit_code
    except click.exceptions.Abort:
        return _interrupted()
    except KeyboardInterrupt:
        return _interrupted()
    except click.FileError as error:
        error.show()
        return 5
    except click.ClickException as error:
        error.show()
        return 2
    except ExplainedError as error:
        _say(f"Error: {error}")
        return error.exit_code
    except MemoryError:
        _say("Error: memory ran out. Needed: more free memory. Lower the usual batch with --batch and try --resume.")
        return 6
    except RuntimeError as error:
        # PyTorch has no MemoryError for a CPU, and importing it here only to ask would cost every other error a second.
        if "not enough memory" not in str(error) and type(error).__name__ != "OutOfMemoryError":
            raise
        _say(f"Error: memory ran out: {str(error).splitlines()[0]}. Lower the batches with --batch and try --resume.")
        return 6


def _interrupted() -> int:
    _say("Interrupted. What was finished stands in the run's folder; --resume goes on from there.")
    return 130


def _say(message: str) -> None:
    click.echo(message, err=True)
