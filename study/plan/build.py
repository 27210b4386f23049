"""Builds the replicates of a study from its spec: conditions x seeds, each with a content id.

Every guided condition brings its baseline, its guide alone (the guide's architecture trained on
the task) and the controls asked for, at the same seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from study.plan.compatibility import Compatibility
from study.plan.expand import Expanded, expand
from study.plan.labels import label
from study.plan.matched import at_equal_compute
from study.plan.notes import notes_on_controls
from study.plan.replicates import Matched, PlannedCondition, PlanRow, Replicate
from study.plan.weights import Sources
from study.spec.read import Baseline, Block, Spec, SpecError
from study.spec.settings import MAX_REPLICATES
from trainers import controls, tasks
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import NO_CONTROL
from trainers.conditions.registries import CONTROLS
from trainers.guides.cache_plan import Budget, with_cache
from trainers.tasks import Task

#: Length of each replicate's training under `--debug`, in steps.
DEBUG_STEPS = 2
#: Guides come first in a plan: replicates that depend on one follow it.
_ORDER = {"guide": 0, "baseline": 1, "rival": 2, "guided": 3, "control": 4}


class Plan:
    """All conditions of a study: guides first, then baselines, guided conditions and controls.

    Files of weights are looked for in `sources`, by default the current folder. Raises SpecError
    where parts of a condition do not fit each other or the study is too large.
    """

    def __init__(self, spec: Spec, *, debug: bool = False, sources: Sources | None = None) -> None:
        self.name = spec.name
        self._sources = sources or Sources()
        self.resources = spec.resources
        self.margin, self.confirm = spec.margin, spec.confirm
        self._budget: Budget | None = None
        if spec.cache is not None:
            max_bytes = int(spec.cache.max_gib * 2**30)
            self._budget = Budget(max_bytes=max_bytes, dtype=spec.cache.dtype)
        self._planned: dict[Condition, PlannedCondition] = {}
        self._uses: dict[Any, PlanRow] = {}
        self._fit = Compatibility(spec.resources.workers)
        self._debug = debug
        self._size = 0
        for block in spec.blocks:
            self._add_block(block)
        self.conditions = sorted(self._planned.values(), key=lambda p: _ORDER[p.condition.role])
        self.uses = sorted(self._uses.values(), key=lambda use: _ORDER[use.condition.role])
        label(self.name, self.uses)

    def __len__(self) -> int:
        return sum(len(planned.own_seeds) for planned in self.conditions)

    @cached_property
    def replicates(self) -> list[Replicate]:
        """Every replicate of the study, guides first."""
        return [
            Replicate(planned.ids[seed], seed, planned)
            for planned in self.conditions
            for seed in planned.own_seeds
        ]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of the plan's table: one for each replicate in each of its places."""
        for use in self.uses:
            yield from use.rows

    def first_rows(self) -> list[dict[str, Any]]:
        """One row of the plan's table for each condition: first seed, first place."""
        return [planned.use.row(next(iter(planned.seeds))) for planned in self.conditions]

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Primary metric, `data`, direction and chance of metrics, by the label of the task."""
        return {
            planned.labels["task"]: {
                "primary_metric": (task := tasks.build(planned.condition.task)).primary_metric,
                "higher_is_better": dict(task.higher_is_better),
                "chance": {name: task.chance(name) for name in task.higher_is_better},
                "data": planned.condition.data,
            }
            for planned in self.conditions
        }

    def absent(self) -> dict[str, Task]:
        """Tasks whose data is not on this machine, by label; ids on them are provisional."""
        labels = {planned.condition.task: planned.labels["task"] for planned in self.conditions}
        built = {label: tasks.build(component) for component, label in labels.items()}
        return {label: task for label, task in built.items() if task.data == tasks.ABSENT}

    def check_data(self) -> None:
        """Make sure that every task's data is on this machine, by download where that is possible.

        Call it before ids are asked for. Raises SpecError where data cannot be had.
        """
        for task in self.absent().values():
            try:
                task.check_data()
            except FileNotFoundError as error:
                raise SpecError(str(error)) from error

    def notes(self) -> list[str]:
        """Lines that say which guided conditions lack a control that a claim needs."""
        return notes_on_controls(self.uses)

    def _add_block(self, block: Block) -> None:
        self._check_controls(block)
        seeds = block.seeds[:1] if self._debug else block.seeds
        for found in expand(block, self._sources):
            cut = found.with_steps(DEBUG_STEPS) if self._debug else found
            self._add(cut, seeds, block.baselines)
            if self._size > MAX_REPLICATES:
                raise SpecError(
                    f"{self.name}: more than {MAX_REPLICATES:,} replicates; split the study"
                )

    @staticmethod
    def _check_controls(block: Block) -> None:
        """Raise SpecError for a named control that has no meaning anywhere in the block."""
        of = {
            name: [component for entry in entries for component in entry.components()]
            for name, entries in (("distances", block.distances), ("tasks", block.task))
        }
        cases = list(itertools.product(of["distances"], block.states, of["tasks"]))
        for control in block.named_controls:
            refused = [controls.refusal(control, *case) for case in cases]
            if None not in refused:
                names = (CONTROLS.component(n) for n in CONTROLS.names() if n != NO_CONTROL.name)
                fit = [c.name for c in names if None in (controls.refusal(c, *x) for x in cases)]
                raise SpecError(
                    f"controls: {CONTROLS.label(control)} {refused[0]} (allowed here: "
                    f"{', '.join(fit)})"
                )

    def _add(self, found: Expanded, seeds: Iterable[int], baselines: Sequence[Baseline]) -> None:
        if self._budget is not None:
            for condition in (found.baseline, *found.guides_alone):
                self._fit.check(condition)
            found = replace(found, condition=self._cached(found.condition, self._budget))
        if found.optional and not self._fits(found.condition):
            return
        for condition in found.conditions:
            self._train(condition, seeds)
        alone = tuple(self._planned[guide] for guide in found.guides_alone)
        baseline = self._planned[found.baseline]
        key = (found.condition, found.guides_alone, found.place)
        use = self._uses.get(key)
        if use is None:
            use = PlanRow(self._planned[found.condition], baseline, alone, place=found.place)
            use.num_pairs = self._fit.num_pairs(found.condition)
            self._place(key, use)
        use.seeds |= dict.fromkeys(seeds)
        if "best_validation" in baselines:
            use.planned.best_validation = baseline.best_validation = True
        if "matched" in baselines and use.condition.role == "guided":
            self._match(use, seeds)

    @staticmethod
    def _cached(condition: Condition, budget: Budget) -> Condition:
        if all(controls.of(term).cacheable for term in condition.terms):
            return with_cache(condition, budget)
        return condition

    def _fits(self, condition: Condition) -> bool:
        """Whether a control fits networks that suit the guided condition."""
        try:
            self._fit.num_pairs(condition)
        except SpecError:
            return False
        return True

    def _match(self, use: PlanRow, seeds: Iterable[int]) -> None:
        """Plan the baselines at equal compute of a guided condition."""
        baseline, full, flops = at_equal_compute(use.condition)
        for condition in (baseline, full):
            if condition is not None:
                self._train(condition, seeds, matched=True)
        planned = None if full is None else self._planned[full]
        use.matched = Matched(self._planned[baseline], planned, flops)

    def _train(self, condition: Condition, seeds: Iterable[int], *, matched: bool = False) -> None:
        planned = self._planned.get(condition)
        if planned is None:
            self._fit.check(condition)
            needs = tuple(self._planned[guide] for guide in condition.guide_conditions)
            self._planned[condition] = planned = PlannedCondition(condition, needs)
        before = len(planned.own_seeds)
        planned.seeds |= dict.fromkeys(seeds)
        self._size += len(planned.own_seeds) - before
        if condition.guidance is None:
            use = self._uses.get(condition)
            if use is None:
                use = self._place(condition, PlanRow(planned, is_matched=matched))
            use.is_matched &= matched
            use.seeds |= dict.fromkeys(seeds)

    def _place(self, key: Any, use: PlanRow) -> PlanRow:
        self._uses[key] = use
        if not hasattr(use.planned, "use"):
            use.planned.use = use
        return use
