"""Whether a run gets on: then it goes on however often its processes die."""

from __future__ import annotations

from trainers.messages import Ended, Measured, Message


class Advance:
    """Follows the messages of trials; `take` says whether anything has advanced since it was asked.

    That is so where a replicate has finished or failed, or was measured at a step that it had not
    reached before in this run.
    """

    def __init__(self) -> None:
        self._steps: dict[str, int] = {}
        self._advanced = False

    def note(self, message: Message) -> None:
        """Take a trial's message."""
        if isinstance(message, Ended):
            self._advanced |= message.status in ("finished", "failed")
        if isinstance(message, Measured) and message.step > self._steps.get(
            message.replicate_id, -1
        ):
            self._steps[message.replicate_id] = message.step
            self._advanced = True

    def take(self) -> bool:
        """Whether anything has advanced since the last call."""
        advanced, self._advanced = self._advanced, False
        return advanced
