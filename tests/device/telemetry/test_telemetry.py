"""Energy and spreads, with numbers worked out by hand."""

from __future__ import annotations

import json

import pytest

from swin_deploy.device.telemetry.energy import energy_joules
from swin_deploy.device.telemetry.sample import Sample
from swin_deploy.device.telemetry.telemetry import Telemetry, energy_per_image, summarised


def test_constant_power_is_power_times_time() -> None:
    assert energy_joules([0.0, 1.0, 2.0], [10.0, 10.0, 10.0], 0.0, 2.0) == 20.0


def test_uneven_samples_are_trapezoids() -> None:
    # 0..1 s from 10 to 20 W: 15 J; 1..4 s from 20 to 0 W: 30 J.
    assert energy_joules([0.0, 1.0, 4.0], [10.0, 20.0, 0.0], 0.0, 4.0) == 45.0
    # The mean of the three samples times the time would have said 40 J.


def test_the_ends_are_cut_and_stretched_to_what_was_watched() -> None:
    # Watched from 0.5 to 3 s; samples at 1 s (10 W) and 2 s (30 W): 0.5 x 10 + 20 + 1 x 30.
    assert energy_joules([1.0, 2.0], [10.0, 30.0], 0.5, 3.0) == 55.0
    # Samples at 0 s (0 W) and 4 s (40 W), watched from 1 to 3 s: 10 to 30 W over 2 s.
    assert energy_joules([0.0, 4.0], [0.0, 40.0], 1.0, 3.0) == 40.0


def orin(cpu: float, gpu: float, system: float, **more: object) -> Sample:
    return Sample({"VDD_CPU_CV": cpu, "VDD_GPU_SOC": gpu, "VIN_SYS_5V0": system, "VDDQ_VDD2_1V8AO": 1.0}, **more)


def test_the_energy_of_an_agx_orin_is_that_of_its_three_rails_and_not_of_the_fourth_within_them() -> None:
    found = summarised("sysfs", [0.0, 2.0], [orin(1, 4, 5), orin(3, 8, 5)], 0.0, 2.0)
    # (1+3)/2*2 + (4+8)/2*2 + 5*2
    assert found.energy_j == 4 + 12 + 10
    assert found.energy_rails == ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
    assert energy_per_image(found, 52) == 0.5


def test_spreads_have_mean_least_and_most() -> None:
    samples = [
        Sample({"VDD_IN": 5.0}, {"gpu": 40.0}, {"gpu": 306.0}),
        Sample({"VDD_IN": 9.0}, {"gpu": 44.0}, {"gpu": 1020.0}),
        Sample({"VDD_IN": 10.0}, {}, {"gpu": 1020.0}),
    ]
    facts = summarised("sysfs", [0, 1, 2], samples, 0, 2).facts()
    assert facts["power_w"] == {"VDD_IN": {"mean": 8.0, "min": 5.0, "max": 10.0}}
    assert facts["temperatures_c"] == {"gpu": {"mean": 42.0, "min": 40.0, "max": 44.0}}
    assert facts["clocks_mhz"]["gpu"]["max"] == 1020.0
    assert facts["energy_j"] == 16.5  # 7 + 9.5
    assert json.loads(json.dumps(facts)) == facts


@pytest.mark.parametrize(
    "samples", [[], [Sample({"VDD_IN": 5.0})], [Sample({"A_RAIL": 5.0}), Sample({"A_RAIL": 5.0})], [Sample(), Sample()]]
)
def test_no_energy_is_made_up_from_one_sample_or_from_rails_of_an_unknown_board(samples: list[Sample]) -> None:
    found = summarised("sysfs", range(len(samples)), samples, 0.0, 5.0)
    assert found.energy_j is None and energy_per_image(found, 10) is None


def test_sentences_of_samples_are_said_once() -> None:
    hot = Sample(throttled=("The GPU's clock was held back because of heat.",))
    found = summarised("nvidia-smi", [0, 1], [hot, hot], 0, 1, throttled=["Another."])
    assert found.throttled == ("Another.", "The GPU's clock was held back because of heat.")


def test_a_telemetry_of_no_source_has_every_field_and_no_numbers() -> None:
    facts = Telemetry("none").facts()
    assert facts["source"] == "none" and facts["energy_j"] is None and facts["power_w"] == {}
    assert facts["throttled"] == []
