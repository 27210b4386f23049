"""Builds the replicates of a study from its spec: conditions x seeds, each with a content id.

Every guided condition brings its baseline, its guide alone (the guide's architecture trained on
the task) and the controls asked for, at the same seeds. With a search the plan grows: it has the
candidates that the results in the store say are next, and each row whose search is over.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from study.plan.compatibility import Compatibility
from study.plan.expand import Expanded, expand
from study.plan.labels import label
from study.plan.matched import at_equal_compute
from study.plan.notes import notes_on_batches, notes_on_controls
from study.plan.places import placed
from study.plan.replicates import Later, Matched, PlannedCondition, PlanRow, Replicate
from study.plan.weights import Sources
from study.search.arm import NO_RESULTS, Arm, At, Results
from study.search.arms import Arms
from study.search.points import Point, applied
from study.spec.read import Block, Spec, SpecError
from study.spec.search import Search
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
_ORDER = {"guide": 0, "baseline": 1, "guided": 2, "control": 3, "rival": 4, "candidate": 5}


class Plan:
    """All conditions of a study: guides first, then baselines, guided conditions and controls.

    Files of weights are looked for in `sources`, by default the current folder. Raises SpecError
    where parts of a condition do not fit each other or the study is too large. What is searched
    follows from the `results` of candidates, by default none.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        debug: bool = False,
        sources: Sources | None = None,
        results: Results = NO_RESULTS,
    ) -> None:
        self.name = spec.name
        self._sources = sources or Sources()
        self.resources = spec.resources
        self.margin, self.confirm = spec.margin, spec.confirm
        self._budget: Budget | None = None
        if spec.cache is not None:
            max_bytes = int(spec.cache.max_gib * 2**30)
            self._budget = Budget(max_bytes=max_bytes, dtype=spec.cache.dtype)
        self._planned: dict[tuple[Condition, bool], PlannedCondition] = {}
        self._uses: dict[Any, PlanRow] = {}
        #: Rows of arms whose search is not over, or whose baseline's is not.
        self._waiting: dict[Any, PlanRow] = {}
        self._arms = Arms(results, self._prepared)
        self._fit = Compatibility(spec.resources.workers)
        self._fitted: set[Condition] = set()
        self._debug = debug
        self._size = 0
        for block in spec.blocks:
            self._add_block(block)
        self.conditions = sorted(self._planned.values(), key=_order)
        self.uses = sorted(self._uses.values(), key=lambda use: _order(use.planned))
        self.later = self._later()
        self._check_size()
        label(self.name, [*self.uses, *self._waiting.values()])

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
        """One row of the plan's table for each condition: first seed, first place.

        Candidates have none. Rows that wait for a search have the name of their arm for an id.
        """
        own = (planned for planned in self.conditions if not planned.is_candidate)
        known = [planned.use.row(next(iter(planned.seeds))) for planned in own]
        return known + [row.first_row() for row in self._waiting.values()]

    def budgets(self) -> Counter[tuple[int, int]]:
        """Number of searched arms by budget and number of tuning seeds."""
        searches = (arm.search for arm in self._arms)
        return Counter((search.budget, len(search.seeds)) for search in searches)

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Metrics with direction and chance, `data`, kind of answers, by the label of the task."""
        return {
            planned.labels["task"]: {
                "primary_metric": (task := tasks.build(planned.condition.task)).primary_metric,
                "higher_is_better": dict(task.higher_is_better),
                "chance": {name: task.chance(name) for name in task.higher_is_better},
                "data": planned.condition.data,
                "answers": "values" if task.output.num_classes is None else "classes",
            }
            for planned in self.conditions
        }

    @property
    def drawn_tasks(self) -> set[str]:
        """Labels of tasks whose data each seed draws."""
        drawn = (each for each in self.conditions if each.condition.data != "fixed")
        return {planned.labels["task"] for planned in drawn}

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
        """Lines on guided conditions that lack a control that a claim needs, and on batches."""
        uses = [use for use in (*self.uses, *self._waiting.values()) if not use.is_candidate]
        return notes_on_controls(uses) + notes_on_batches(uses)

    def _add_block(self, block: Block) -> None:
        self._check_controls(block)
        seeds = block.seeds[:1] if self._debug else block.seeds
        for found in expand(block, self._sources):
            cut = found.with_steps(DEBUG_STEPS) if self._debug else found
            with placed(block):
                if block.search is None:
                    self._add(cut, seeds, block)
                else:
                    search = block.search.cut() if self._debug else block.search
                    self._add_searched(cut, search, seeds, block)
            self._check_size()

    def _check_size(self) -> None:
        if self._size > MAX_REPLICATES:
            raise SpecError(f"more than {MAX_REPLICATES:,} replicates; split the study")

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

    def _add(
        self, found: Expanded, seeds: Iterable[int], block: Block, arms: Sequence[Arm] = ()
    ) -> None:
        """Plan a row with all that it needs; `arms` are its baseline's and its own."""
        baseline_arm, arm = arms or (None, None)
        if self._budget is not None:
            for condition in (found.baseline, *found.guides_alone):
                self._fit.check(condition)
            found = replace(found, condition=self._cached(found.condition, self._budget))
        if found.optional and not self._fits(found.condition):
            return
        for condition in found.conditions:
            self._train(condition, seeds, baseline_arm if condition == found.baseline else None)
        key = (found.condition, found.guides_alone, found.place)
        planned, baseline = (
            self._planned[each, False] for each in (found.condition, found.baseline)
        )
        use = self._uses.get(key) or self._place(key, self._row(planned, found, arm))
        use.baseline = baseline
        use.seeds |= dict.fromkeys(seeds)
        if "best_validation" in block.baselines:
            planned.best_validation = baseline.best_validation = True
        # Of rivals, those that guides align cost more than the steps that they share.
        costs_more = planned.condition.guidance is not None and planned.condition.role != "control"
        if "matched" in block.baselines and costs_more:
            self._match(use, seeds, baseline_arm)

    def _add_searched(
        self, found: Expanded, search: Search, seeds: Iterable[int], block: Block
    ) -> None:
        """Plan the known candidates of a row, and the row itself once it can be trained."""
        if found.optional and not self._fits(found.condition):
            return
        for guide in found.guides_alone:
            self._train(guide, seeds)
        arms = [
            self._arms.of(search, found.baseline, self._fitting(partial(applied, found.baseline))),
            self._arms.of(search, found.condition, self._fitting(found.at)),
        ]
        for arm in arms:
            self._add_candidates(arm, found)
        baseline, arm = arms
        if baseline.chosen is not None and arm.chosen is not None:
            tuned = replace(
                found, baseline=baseline.chosen.condition, condition=arm.chosen.condition
            )
            self._add(tuned, seeds, block, arms)
            return
        for each, place in ((baseline, None), (arm, found.place)):
            key = (each.form, place and found.guides_alone, place)
            row = self._waiting.get(key)
            if row is None:
                first = self._planned[each.trials[0].condition, True]
                row = self._waiting[key] = self._row(first, found, each)
                row.baseline_arm = baseline
            row.seeds |= dict.fromkeys(seeds)

    def _fitting(self, at: At) -> At:
        """The condition at a point; raises ValueError where it fits no network, task or batch.

        The first plan says so then, not that of a batch which happens to ask for it.
        """

        def checked(point: Point) -> Condition:
            condition = at(point)
            # Rows share baselines, and each asks anew.
            if condition not in self._fitted:
                self._fit.check(condition)
                if condition.guidance is not None:
                    self._fit.num_pairs(condition)
                self._fitted.add(condition)
            return condition

        return checked

    def _add_candidates(self, arm: Arm, found: Expanded) -> None:
        for trial in arm.trials:
            if (arm.form, trial.number) in self._uses:
                return
            for guide in trial.condition.guide_conditions:
                planned = self._train(guide, arm.search.seeds, candidate=True)
                use = self._uses.get((guide, True)) or self._place((guide, True), PlanRow(planned))
                use.seeds |= dict.fromkeys(arm.search.seeds)
            planned = self._train(trial.condition, arm.search.seeds, candidate=True)
            use = self._place((arm.form, trial.number), self._row(planned, found, arm))
            use.trial, use.seeds = trial, dict.fromkeys(arm.search.seeds)

    def _row(self, planned: PlannedCondition, found: Expanded, arm: Arm | None) -> PlanRow:
        """A row at its place; without seeds and baseline."""
        row = PlanRow(planned, arm=arm, trial=None if arm is None else arm.chosen)
        if found.place is not None and planned.condition.treatment is not None:
            row.guides_alone = tuple(self._planned[guide, False] for guide in found.guides_alone)
            row.place = found.place
        if planned.condition.guidance is not None:
            row.num_pairs = self._fit.num_pairs(planned.condition)
        return row

    def _prepared(self, condition: Condition) -> Condition:
        """The condition that is trained of one with the values of a trial."""
        if self._debug:
            condition = condition.with_steps(DEBUG_STEPS)
        if self._budget is None or condition.guidance is None:
            return condition
        self._fit.check(replace(condition, treatment=None))
        return self._cached(condition, self._budget)

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

    def _match(self, use: PlanRow, seeds: Iterable[int], arm: Arm | None) -> None:
        """Plan the baselines at equal compute of a guided condition; `arm` is its baseline's."""
        assert use.baseline is not None
        baseline, full, flops = at_equal_compute(use.condition, use.baseline.condition)
        planned, whole = (
            None if condition is None else self._train(condition, seeds, arm, matched=True)
            for condition in (baseline, full)
        )
        assert planned is not None
        use.matched = Matched(planned, whole, flops)

    def _train(
        self,
        condition: Condition,
        seeds: Iterable[int],
        arm: Arm | None = None,
        *,
        candidate: bool = False,
        matched: bool = False,
    ) -> PlannedCondition:
        """Plan a condition, whose guides are planned; with its place if nothing treats it."""
        planned = self._planned.get((condition, candidate))
        if planned is None:
            self._fit.check(condition)
            needs = tuple(self._planned[each, candidate] for each in condition.guide_conditions)
            planned = PlannedCondition(condition, needs, candidate)
            self._planned[condition, candidate] = planned
        before = len(planned.own_seeds)
        planned.seeds |= dict.fromkeys(seeds)
        self._size += len(planned.own_seeds) - before
        if condition.treatment is None and not candidate:
            use = self._uses.get(condition)
            if use is None:
                use = self._place(condition, PlanRow(planned, arm=arm, is_matched=True))
            if not matched and use.is_matched:
                use.arm, use.trial = arm, None if arm is None else arm.chosen
            use.is_matched &= matched
            use.seeds |= dict.fromkeys(seeds)
        return planned

    def _place(self, key: Any, use: PlanRow) -> PlanRow:
        self._uses[key] = use
        if not hasattr(use.planned, "use"):
            use.planned.use = use
        return use

    def _later(self) -> Later:
        """Replicates that wait for results, which are counted and priced, but have no ids yet."""
        like = {arm.form: self._planned[arm.trials[0].condition, True] for arm in self._arms}
        candidates = {like[arm.form]: arm.num_later * len(arm.search.seeds) for arm in self._arms}
        winners = {
            like[row.named]: len(row.seeds)
            for row in self._waiting.values()
            # A baseline whose search is over may be planned with another row.
            if row.trial is None or row.trial.condition not in self._uses
        }
        later = Later(candidates, winners)
        self._size += len(later)
        return later


def _order(planned: PlannedCondition) -> int:
    return _ORDER["guide"] if planned.condition.is_guide else _ORDER[planned.role]
