"""nvidia-smi's lines, and a program that imitates it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from swin_deploy.device.telemetry.nvidia_smi import open_nvidia_smi, parse_line, query_once

FULL = "NVIDIA GeForce RTX 4090, 570.86, 123.45, 61, 2520, 10501, 3105, 24564, 23000, 0x0000000000000004"


def test_a_line_gives_power_temperature_clocks_and_memory() -> None:
    line = parse_line(FULL)
    assert (line.gpu, line.driver) == ("NVIDIA GeForce RTX 4090", "570.86")
    assert line.sample.power_w == {"GPU board": 123.45}
    assert line.sample.temperatures_c == {"gpu": 61.0}
    assert line.sample.clocks_mhz == {"gpu": 2520.0, "memory": 10501.0}
    assert line.facts == {"max_mhz": 3105.0, "total_mib": 24564.0, "free_mib": 23000.0}


def test_what_the_driver_does_not_say_is_left_out() -> None:
    line = parse_line("NVIDIA Thor, 580.00, [N/A], [N/A], [N/A], [N/A], [N/A], [Not Supported], [N/A], [N/A]")
    assert line.gpu == "NVIDIA Thor"
    assert line.sample.power_w == {} and line.sample.clocks_mhz == {} and line.facts == {}
    assert line.sample.throttled == ()


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        ("0x0000000000000000", ()),
        ("0x0000000000000001", ()),  # idle
        ("0x0000000000000002", ()),  # clocks that the user has set
        ("0x0000000000000004", ("power limit",)),
        ("0x0000000000000020", ("driver because of heat",)),
        ("0x0000000000000048", ("hardware because of heat",)),  # with the general bit, which adds nothing
        ("0x0000000000000008", ("by the hardware",)),
        ("0x0000000000000084", ("power limit", "brake")),
    ],
)
def test_each_reason_that_costs_speed_is_a_sentence(reasons: str, words: tuple[str, ...]) -> None:
    sentences = parse_line(FULL.rsplit(",", 1)[0] + ", " + reasons).sample.throttled
    assert len(sentences) == len(words)
    for sentence, word in zip(sentences, words, strict=True):
        assert word in sentence and sentence.endswith(".")


@pytest.mark.parametrize("line", ["", "No devices were found", "NVIDIA-SMI has failed because, well, it did"])
def test_a_line_of_something_else_gives_nothing(line: str) -> None:
    assert parse_line(line).gpu == ""


def program(tmp_path: Path, knows: str) -> str:
    """An nvidia-smi that knows one name of the reasons' field, and prints for ever when asked to."""
    path = tmp_path / "nvidia-smi"
    path.write_text(
        f"#!{sys.executable}\nimport sys, time\n"
        f"if {knows!r} not in ' '.join(sys.argv):\n    print('Field is not a valid field to query.')\n    sys.exit(2)\n"
        f"print({FULL!r}, flush=True)\n"
        "if any(word.startswith('--loop-ms=') for word in sys.argv):\n    time.sleep(60)\n"
    )
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("knows", ["clocks_event_reasons.active", "clocks_throttle_reasons.active"])
def test_old_and_new_drivers_are_asked_in_their_own_words(tmp_path: Path, knows: str) -> None:
    command = program(tmp_path, knows)
    found = query_once(command)
    assert found is not None and found.driver == "570.86"
    source = open_nvidia_smi(command, 0.05)
    assert source is not None and source.gpu == "NVIDIA GeForce RTX 4090"
    sample = source.read()
    assert sample is not None and sample.power_w == {"GPU board": 123.45}
    source.close()
    assert source.read() is None


def test_a_driver_that_finds_no_gpu_is_no_source(tmp_path: Path) -> None:
    command = program(tmp_path, "a name that nobody asks for")
    assert query_once(command) is None and open_nvidia_smi(command, 0.1) is None
    assert query_once(str(tmp_path / "missing")) is None
