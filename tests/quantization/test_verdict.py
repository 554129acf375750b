"""The recommendation: every branch, and that it never claims what was not measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from swin_deploy.quantization.verdict import Figures, Speed, recommend

FASTER = Speed(1.4, 1.35, 1.45, 8, "a GPU")
SLOWER = Speed(0.8, 0.78, 0.83, 8, "a GPU")
ALIKE = Speed(1.02, 0.97, 1.06, 8, "a GPU")
SOUND = Figures(executed=True, drop="+0.10 points, margin 1", kernels=(91, 111), bench="swin-deploy bench RUN")
BLIND = replace(SOUND, drop="", unjudged="what the task loses was not judged on 64 images")


@pytest.mark.parametrize(
    ("figures", "choice", "words"),
    [
        (replace(SOUND, failed=("sqnr: 12.0 dB, gate 25 dB",)), "FP16", ["failed its gates", "12.0 dB"]),
        (replace(SOUND, failed=("sqnr: low",), speed=FASTER), "FP16", ["failed its gates"]),
        (replace(SOUND, failed=("sqnr: low",), executed=False), "FP16", ["failed its gates"]),
        (replace(SOUND, undecided="+0.80 points, upper +1.30"), "FP16", ["+1.30", "larger evaluation set"]),
        (replace(SOUND, undecided="+0.80 points", speed=FASTER), "FP16", ["larger evaluation set"]),
        (replace(SOUND, speed=SLOWER), "FP16", ["slower", "0.80 times", "batch 8", "a GPU"]),
        (replace(BLIND, speed=SLOWER), "FP16", ["slower"]),
        (replace(SOUND, speed=ALIKE), "FP16", ["gains no time", "0.97 to 1.06"]),
        (replace(SOUND, speed=FASTER), "INT8", ["+0.10 points", "1.40 times FP16's speed", "1.35 to 1.45"]),
        (replace(SOUND, speed=FASTER, name="FP8"), "FP8", ["Recommended: FP8"]),
        (replace(BLIND, speed=FASTER), None, ["faster", "not judged on 64 images"]),
        (SOUND, "FP16", ["not measured", "accuracy allows INT8", "no latency", "`swin-deploy bench RUN` decides"]),
        (replace(SOUND, kernels=None, bench=""), "FP16", ["not measured", "accuracy allows INT8"]),
        (BLIND, None, ["time of INT8 against FP16 was not measured", "not judged on 64 images", "bench"]),
        (replace(SOUND, executed=False), None, ["nothing in INT8 was executed"]),
    ],
)  # fmt: skip
def test_accuracy_comes_first_then_time(figures: Figures, choice: str | None, words: list[str]) -> None:
    found = recommend(figures)
    assert found.choice == choice
    assert all(word in found.sentence for word in words), found.sentence
    start = "No recommendation: " if choice is None else f"Recommended: {choice}: "
    assert found.sentence.startswith(start) and found.sentence.endswith(".")


def test_kernels_alone_never_recommend_int8() -> None:
    assert recommend(replace(SOUND, kernels=(200, 50))).choice == "FP16"
    assert recommend(replace(SOUND, kernels=(50, 200))).choice == "FP16"


def test_without_a_measured_time_no_speed_is_claimed() -> None:
    assert "faster" not in recommend(SOUND).sentence and "slower" not in recommend(SOUND).sentence
