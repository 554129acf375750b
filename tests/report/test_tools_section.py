"""Each tool's results are counted, and what does not apply says why instead of counting as no gain."""

from __future__ import annotations

from calib.tools.problem import Trial
from swin_deploy.report.tools_section import tools_section


def solution(*trials: Trial) -> dict[str, object]:
    return {"place": "norm", "step": 0.1, "trials": [trial.to_json() for trial in trials]}


def test_kept_no_gain_and_not_applicable_are_three_things() -> None:
    found = list(
        tools_section(
            {
                "blocks.0.attn.qkv": solution(
                    Trial("smoothquant", "kept", "strength 0.5", 40.0, 42.0), Trial("step", "kept", "output")
                ),
                "blocks.0.mlp.0": solution(Trial("smoothquant", "no gain", "as it was", 40.0, 40.0)),
                "blocks.0.mlp.2": solution(Trial("smoothquant", "n/a", "no LayerNorm before it")),
            }
        )
    )
    assert "| smoothquant | 1 | 1 | 1: no LayerNorm before it | +2.0 |" in found
    assert not any("step" in line for line in found if line.startswith("| "))


def test_a_tool_that_applies_nowhere_has_no_gain_to_speak_of() -> None:
    found = list(tools_section({"blocks.0.mlp.2": solution(Trial("repq", "n/a", "no LayerNorm before it"))}))
    assert "| repq | 0 | 0 | 1: no LayerNorm before it | N/A |" in found


def test_without_tools_there_is_no_section() -> None:
    assert list(tools_section({"blocks.0.mlp.2": solution(Trial("step", "kept", "min-max"))})) == []
