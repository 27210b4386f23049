"""The rival of docs/extending.md, as it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import trainers
from trainers.conditions.condition import Condition, Rival
from trainers.errors import UserError
from trainers.messages import silent
from trainers.rivals import RIVALS, build

PAGE = Path(__file__).parents[3] / "docs" / "extending.md"


def test_the_rival_of_the_page_trains(make: Callable[..., Condition]) -> None:
    text = PAGE.read_text(encoding="utf-8").split("## Rivals of guidance")[1]
    code = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)[0]
    with RIVALS.restored():
        exec(compile(code, "page", "exec"), {"__name__": "page"})
        method = RIVALS.component("small_start", scale=0.1)
        small = trainers.train(replace(make(), treatment=Rival(method=method)), report=silent)
        plain = trainers.train(make(), report=silent)
        assert small.metrics["loss"] != plain.metrics["loss"]
        with pytest.raises(UserError, match=r"scale is 2\.0; allowed: above 0"):
            build(RIVALS.component("small_start", scale=2.0))
