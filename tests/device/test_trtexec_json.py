"""Our times under trtexec's names."""

from __future__ import annotations

import json

import pytest

from swin_deploy.device.timed_call import TimedCall
from swin_deploy.device.trtexec_json import trtexec_records, trtexec_text

# The names in exportJSONTrace of TensorRT's samples/common/sampleReporting.cpp, in its order.
NAMES = """
startEnqMs endEnqMs startH2dMs endH2dMs startComputeMs endComputeMs startD2hMs endD2hMs h2dMs computeMs d2hMs latencyMs
"""


def test_the_names_and_their_order_are_trtexecs() -> None:
    (record,) = trtexec_records([TimedCall(5.0, 1.0)])
    assert list(record) == NAMES.split()


def test_phases_follow_each_other_from_the_first_calls_start() -> None:
    first, second = trtexec_records([TimedCall(100.0, 4.0, 0.5, 2.0, 0.25), TimedCall(110.0, 5.0, 1.0, 2.0, 1.0)])
    assert first == dict(zip(NAMES.split(), (0, 4, 0, 0.5, 0.5, 2.5, 2.5, 2.75, 0.5, 2, 0.25, 2.75), strict=True))
    assert (second["startEnqMs"], second["endEnqMs"], second["startComputeMs"]) == (10.0, 15.0, 11.0)
    assert second["latencyMs"] == 4.0


def test_a_call_without_phases_is_all_computing() -> None:
    (record,) = trtexec_records([TimedCall(0.0, 3.0)])
    assert (record["h2dMs"], record["computeMs"], record["d2hMs"], record["latencyMs"]) == (0.0, 3.0, 0.0, 3.0)
    assert (record["startD2hMs"], record["endD2hMs"]) == (3.0, 3.0)


def test_the_text_is_a_json_list_with_the_intervals_that_readers_compute() -> None:
    records = json.loads(trtexec_text([TimedCall(float(start), 1.0, 0.1, 0.7, 0.2) for start in range(3)]))
    assert len(records) == 3
    for record in records:
        for duration, start, end in (
            ("h2dMs", "H2d", "H2d"),
            ("computeMs", "Compute", "Compute"),
            ("d2hMs", "D2h", "D2h"),
        ):
            assert record[duration] == pytest.approx(record[f"end{end}Ms"] - record[f"start{start}Ms"])


def test_nan_is_no_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        trtexec_text([TimedCall(0.0, float("nan"))])
