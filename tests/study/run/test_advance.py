"""A run gets on where replicates end, or come further than they were."""

from __future__ import annotations

import pytest

from study.run.advance import Advance
from trainers.messages import Ended, EndStatus, Measured, Message, Warned


def measured(step: int) -> Measured:
    return Measured(replicate_id="a", step=step, metrics={}, timestamp=0)


@pytest.mark.parametrize(
    ("messages", "advanced"),
    [
        ([], False),
        ([Warned(replicate_id="a", text="damaged")], False),
        ([measured(0)], True),
        ([measured(20)], True),
    ],
)
def test_points_of_training_are_an_advance(messages: list[Message], advanced: bool) -> None:
    advance = Advance()
    for message in messages:
        advance.note(message)
    assert advance.take() == advanced
    assert not advance.take()


def test_points_that_were_there_before_are_none() -> None:
    advance = Advance()
    advance.note(measured(20))
    assert advance.take()
    for step in (10, 20):
        advance.note(measured(step))
    assert not advance.take()
    advance.note(measured(30))
    assert advance.take()


@pytest.mark.parametrize(
    ("status", "advanced"),
    [("finished", True), ("failed", True), ("blocked", False), ("missing", False)],
)
def test_ends_are_an_advance_if_they_are_results(status: EndStatus, advanced: bool) -> None:
    advance = Advance()
    advance.note(Ended(replicate_id="a", status=status))
    assert advance.take() == advanced
