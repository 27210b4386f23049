"""The arms of a study, each searched once."""

from __future__ import annotations

from collections.abc import Iterator

from study.errors import SpecError
from study.search.arm import Arm, At, Prepare, Results, form_of, searched, space_of
from study.spec.search import Search
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition


class Arms:
    """Arms by their form; rows that share a baseline or a control share its arm."""

    def __init__(self, results: Results, prepare: Prepare) -> None:
        self._results, self._prepare = results, prepare
        self._arms: dict[Condition, Arm] = {}
        self._bases: dict[Condition, Condition] = {}

    def __iter__(self) -> Iterator[Arm]:
        return iter(self._arms.values())

    def of(self, search: Search, condition: Condition, at: At) -> Arm:
        """The arm of a condition, which is `at` a point of the space with its values.

        Raises SpecError where two conditions differ in searched keys alone, or are to be searched
        in two ways: no column would tell their rows apart.
        """
        form = form_of(search, condition, at)
        if form not in self._arms:
            self._arms[form] = searched(search, form, at, self._results, self._prepare)
            self._bases[form] = condition
        arm, target = self._arms[form], ARCHITECTURES.label(condition.target)
        if arm.search != search:
            raise SpecError(
                f"search: two grids search for the same {form.role} {target} in two ways"
            )
        if self._bases[form] != condition:
            keys = ", ".join(space_of(search, condition))
            raise SpecError(
                f"search.space: two rows of {target} differ only in keys that are searched "
                f"({keys}); give each of these one value in the rest of the spec"
            )
        return arm
