"""The handlers of signals of this process's command."""

from __future__ import annotations

from study.run.interrupts import Interrupts

INTERRUPTS = Interrupts()
