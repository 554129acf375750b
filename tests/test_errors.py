"""Each error has the exit status that the README documents."""

from __future__ import annotations

import pytest

from swin_deploy import errors


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.ExplainedError, 1),
        (errors.UsageFault, 2),
        (errors.Unavailable, 3),
        (errors.GateFailed, 4),
        (errors.BadInput, 5),
        (errors.BadData, 5),
        (errors.EnvironmentFault, 6),
    ],
)
def test_an_error_knows_its_exit_status(kind: type[errors.ExplainedError], status: int) -> None:
    assert kind("seen").exit_code == status


def test_no_error_was_forgotten_above() -> None:
    assert set(errors.__all__) == {
        "BadData",
        "BadInput",
        "EnvironmentFault",
        "ExplainedError",
        "GateFailed",
        "Unavailable",
        "UsageFault",
    }


def test_a_message_says_what_was_seen_what_was_needed_and_what_to_do() -> None:
    error = errors.BadInput("a.pth is empty.", needed="a checkpoint", do="Copy it again.")
    assert str(error) == "a.pth is empty. Needed: a checkpoint. Copy it again."
    assert (error.seen, error.needed, error.do) == ("a.pth is empty.", "a checkpoint", "Copy it again.")


def test_a_message_may_be_short() -> None:
    assert str(errors.UsageFault("--sm is empty")) == "--sm is empty."


def test_data_errors_of_calib_are_the_same_class_here() -> None:
    from calib.errors import BadData, ExplainedError

    assert errors.BadData is BadData
    assert errors.ExplainedError is ExplainedError
