"""Times of calls in the shape of trtexec's `--exportTimes`, for the tools that read those files.

The names are those of `exportJSONTrace` in TensorRT's samples/common/sampleReporting.cpp, as it stands since 8.6
(older ones had `endToEndMs` besides). What cannot be the same: our sessions wait for their outputs, so that the enqueue
interval is the whole call by the host's clock; and CUDA events tell durations but not the host's time, so that the
three phases are laid one behind the other from the call's start. A call without phases, as on a CPU, is all computing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from swin_deploy.device.timed_call import TimedCall

__all__ = ["trtexec_records", "trtexec_text"]


def trtexec_records(calls: Iterable[TimedCall]) -> list[dict[str, float]]:
    """One record a call, in milliseconds, with times from the first call's start."""
    records = []
    first = None
    for call in calls:
        first = call.start_ms if first is None else first
        start = call.start_ms - first
        copy_in, compute, copy_out = _phases(call)
        computing, copying_out = start + copy_in, start + copy_in + compute
        records.append(
            {
                "startEnqMs": start,
                "endEnqMs": start + call.total_ms,
                "startH2dMs": start,
                "endH2dMs": computing,
                "startComputeMs": computing,
                "endComputeMs": copying_out,
                "startD2hMs": copying_out,
                "endD2hMs": copying_out + copy_out,
                "h2dMs": copy_in,
                "computeMs": compute,
                "d2hMs": copy_out,
                "latencyMs": copy_in + compute + copy_out,
            }
        )
    return records


def trtexec_text(calls: Iterable[TimedCall]) -> str:
    """The file's text."""
    return json.dumps(trtexec_records(calls), indent=1, allow_nan=False) + "\n"


def _phases(call: TimedCall) -> tuple[float, float, float]:
    if call.copy_in_ms is None or call.compute_ms is None or call.copy_out_ms is None:
        return 0.0, call.total_ms, 0.0
    return call.copy_in_ms, call.compute_ms, call.copy_out_ms
