"""Groups of replicates that share a run above them: a condition, or an arm of a search."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mlflow.entities import Param

from analysis.contract import Role, RunKind
from study.plan.build import Plan
from study.plan.replicates import Replicate
from study.plan.states import State
from study.tracking.names import Naming, condition_name, search_name
from study.tracking.params import condition_params
from trainers.conditions.ids import condition_id


@dataclass(eq=False)
class Group:
    """Replicates of one condition at all its seeds, or all candidates of an arm of a search."""

    kind: RunKind
    naming: Naming
    members: list[Replicate] = field(default_factory=list)

    @cached_property
    def id(self) -> str:
        """Content id of the condition without its seed; of an arm, of its form."""
        first = self.members[0]
        arm = first.planned.use.arm
        searched = self.kind == RunKind.search and arm is not None
        return condition_id(arm.form if searched and arm is not None else first.condition)

    @property
    def name(self) -> str:
        """The name of its run."""
        named = search_name if self.kind == RunKind.search else condition_name
        return named(self.members[0], self.naming)

    @property
    def params(self) -> list[Param]:
        """Parameters that its replicates share."""
        return condition_params(self.members[0])

    def contents(self, states: Mapping[str, State]) -> str:
        """Digest of the ends of its replicates: its run is made anew where that changes."""
        ends = [
            (
                member.id,
                states[member.id].status,
                None if (result := states[member.id].result) is None else result.ended,
            )
            for member in self.members
        ]
        return hashlib.sha256(json.dumps(sorted(ends)).encode()).hexdigest()[:16]


class Groups:
    """All groups of a plan, in its order; replicates of one content are in one group."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.naming = Naming.of(plan.uses)
        by_key: dict[object, Group] = {}
        self._of: dict[str, Group] = {}
        for replicate in plan.replicates:
            if replicate.id in self._of:
                continue
            key, kind = _place(replicate)
            group = by_key.setdefault(key, Group(kind, self.naming))
            group.members.append(replicate)
            self._of[replicate.id] = group
        self._all = list(by_key.values())

    def __iter__(self) -> Iterator[Group]:
        return iter(self._all)

    def of(self, replicate_id: str) -> Group:
        """The group of a replicate."""
        return self._of[replicate_id]


def _place(replicate: Replicate) -> tuple[object, RunKind]:
    """Key of a replicate's group, and the kind of the group."""
    planned = replicate.planned
    if replicate.role != Role.candidate:
        return id(planned), RunKind.condition
    arm = planned.use.arm
    return (id(planned) if arm is None else id(arm)), RunKind.search
