"""Messages are the same on both sides of a process border."""

from __future__ import annotations

import json

import pytest

from trainers.messages import Aborted, Ended, Measured, Message, Traced, Warned, decode, encode

MESSAGES = [
    Measured(replicate_id="a", step=2, metrics={"train/loss": 1.5}, timestamp=5),
    Ended(replicate_id="a", status="failed", error="why"),
    Ended(replicate_id="a", status="finished"),
    Warned(replicate_id="a", text="look"),
    Traced(replicate_id="a", path="/store/profiles/a.json.gz"),
    Aborted(error="StorageError: full", traceback="..."),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_there_and_back(message: Message) -> None:
    assert decode(json.loads(json.dumps(encode(message)))) == message


def test_what_is_measured_reads_well() -> None:
    assert str(MESSAGES[0]) == "a, step 2: train/loss 1.5"


def test_no_message_carries_a_secret() -> None:
    text = "401 for https://bob:hunter2@data.lab/x?token=hunter2"
    messages = [
        Ended(replicate_id="a", status="failed", error=text),
        Warned(replicate_id="a", text=text),
        Traced(replicate_id="a", path=text),
        Aborted(error=text, traceback=f"Traceback:\n  {text}\n"),
    ]
    for message in messages:
        assert "hunter2" not in repr(message)
        assert "data.lab" in repr(message)
