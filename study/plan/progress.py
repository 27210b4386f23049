"""How far a study is whose plan is at hand."""

from __future__ import annotations

from analysis.contract import Role, Status
from study.plan.build import Plan
from study.plan.replicates import Replicate
from study.plan.states import States
from trainers.store.store import Store


class Progress(States[Replicate]):
    """The states of a plan's replicates in a store."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self.plan = plan
        super().__init__(plan, store)

    def take(self, plan: Plan) -> bool:
        """Go on with a plan that results have changed; returns whether it has new replicates."""
        known = self.by_id.keys()
        self._list(plan)
        # Last, since another thread asks for the states of what this lists.
        self.plan = plan
        return not self.by_id.keys() <= known

    @property
    def complete(self) -> bool:
        """Whether every replicate of the study is finished; failed candidates are results too."""
        own = (r for r in self.plan.replicates if r.role != Role.candidate)
        return not self.plan.later and all(self.states[r.id].status == Status.finished for r in own)
