"""jetson-stats, imitated after its reference (https://rnext.it/jetson_stats/reference/jtop.html)."""

from __future__ import annotations

from types import SimpleNamespace

from swin_deploy.device.telemetry.jetson_stats import open_jetson_stats, sample_of

ORIN_NANO = SimpleNamespace(
    power={
        "rail": {
            "VDD_CPU_GPU_CV": {"volt": 5000, "curr": 160, "power": 800, "avg": 790, "online": True},
            "VDD_SOC": {"volt": 5000, "curr": 240, "power": 1200, "avg": 1200, "online": True},
        },
        "tot": {"name": "VDD_IN", "volt": 5000, "curr": 1000, "power": 5000, "avg": 4900},
    },
    temperature={"cpu": {"temp": 48.5, "online": True}, "cv0": {"temp": -256, "online": False}},
    gpu={"gpu": {"freq": {"cur": 612000, "max": 624750, "min": 306000}, "status": {"load": 1.0}}},
)


def test_milliwatts_and_kilohertz_become_watts_and_mhz_and_the_board_s_input_keeps_its_name() -> None:
    sample = sample_of(ORIN_NANO)
    assert sample.power_w == {"VDD_CPU_GPU_CV": 0.8, "VDD_SOC": 1.2, "VDD_IN": 5.0}
    assert sample.temperatures_c == {"cpu": 48.5}
    assert sample.clocks_mhz == {"gpu": 612.0}


def test_a_total_that_jtop_has_added_up_itself_is_no_rail() -> None:
    orin = SimpleNamespace(power={"rail": {}, "tot": {"power": 9000, "avg": 1}}, temperature={}, gpu={})
    assert sample_of(orin).power_w == {}


class Connection(SimpleNamespace):
    def start(self) -> None:
        if self.broken:
            raise RuntimeError("The jtop.service is not active")

    def ok(self) -> bool:
        return not self.closed

    def close(self) -> None:
        self.closed = True


def module(broken: bool) -> SimpleNamespace:
    return SimpleNamespace(
        jtop=lambda interval: Connection(**vars(ORIN_NANO), interval=interval, broken=broken, closed=False)
    )


def test_a_connection_gives_samples_until_it_is_closed() -> None:
    source = open_jetson_stats(0.2, module(broken=False))
    assert source is not None and source.name == "jetson-stats"
    assert source.read() == sample_of(ORIN_NANO)
    source.close()
    assert source.read() is None


def test_a_version_that_is_spoken_to_in_another_way_is_no_source_and_is_left() -> None:
    old = Connection(**{**vars(ORIN_NANO), "power": ({"cur": 5000}, {})}, broken=False, closed=False)
    assert open_jetson_stats(0.2, SimpleNamespace(jtop=lambda interval: old)) is None
    assert old.closed


def test_no_package_and_no_service_are_no_source_and_no_error() -> None:
    assert open_jetson_stats(0.2, module(broken=True)) is None
    assert open_jetson_stats(0.2) is None
