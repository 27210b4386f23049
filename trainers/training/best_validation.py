"""Reports of a run that improve on its best validation value so far.

The test split is scored at these as well, so that two runs can be compared where each was best on
validation examples. That describes a run and changes nothing in it: its result is the last step's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from trainers.store.tables import History
from trainers.tasks import Task

_VALIDATION = "validation/"
#: Prefix of test metrics at a report of best validation so far: the last of them is the best's.
TEST_AT_BEST = "test_at_best/"


class BestValidation:
    """The best value of a task's primary metric on validation examples, over a run's reports.

    The report before the first step, of the initial network, does not count.
    """

    def __init__(self, task: Task) -> None:
        self._metric = _VALIDATION + task.primary_metric
        self._higher_is_better = task.higher_is_better[task.primary_metric]
        self._best: float | None = None

    def resume(self, history: History) -> None:
        """Continue after the reports of a history."""
        for point in history.points:
            if point.step > 0 and point.metric == self._metric:
                self.improves({point.metric: point.value})

    def improves(self, metrics: Mapping[str, float]) -> bool:
        """Whether a report is better than all before it, and note it; not if they are equal."""
        value = metrics.get(self._metric)
        if value is None or not math.isfinite(value):
            return False
        sign = 1 if self._higher_is_better else -1
        if self._best is not None and sign * value <= sign * self._best:
            return False
        self._best = value
        return True
