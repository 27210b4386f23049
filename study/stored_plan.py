"""A plan as the store keeps it, for studies that import modules of the user.

What such a study would train follows from its spec and those modules, and what reads a store
imports nothing: so the plan itself is written down.
"""

from __future__ import annotations

import json
from typing import Any

from study.plan import Plan, Planned, Use
from trainers.condition_json import from_json, to_json
from trainers.errors import DamagedFileError

FILE = "plan.json"


def encode(plan: Plan) -> bytes:
    """The plan as JSON."""
    numbers = {planned: number for number, planned in enumerate(plan.conditions)}
    conditions = [
        {
            "condition": to_json(planned.condition),
            "ids": list(planned.ids.items()),
            "labels": planned.labels,
            "num_steps": planned.num_steps,
            "needs": None if planned.needs is None else numbers[planned.needs],
        }
        for planned in plan.conditions
    ]
    return json.dumps({"study": plan.name, "conditions": conditions}).encode()


def decode(content: bytes, source: str) -> Plan:
    """The plan that `encode` wrote: its replicates, what they need, and what they are called.

    Raises DamagedFileError, which names `source`, where it is not whole.
    """
    try:
        return _plan(json.loads(content))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DamagedFileError(
            f"{source} is damaged ({type(error).__name__}: {error}): archprior run SPEC writes it "
            "anew"
        ) from error


def _plan(stored: Any) -> Plan:
    plan = Plan.__new__(Plan)
    plan.name, plan.conditions, plan.uses = stored["study"], [], []
    for each in stored["conditions"]:
        plan.conditions.append(_planned(each, plan.conditions))
    return plan


def _planned(stored: dict[str, Any], before: list[Planned]) -> Planned:
    # Guides come first in a plan.
    needs = None if stored["needs"] is None else before[stored["needs"]]
    planned = Planned(from_json(stored["condition"]), needs)
    planned.ids, planned.num_steps = dict(stored["ids"]), stored["num_steps"]
    planned.seeds = dict.fromkeys(planned.ids)
    planned.use = Use(planned, labels=stored["labels"])
    return planned
