"""Names that a study writes and analysis reads, each written here alone; imports nothing heavy.

<store>/replicates/<id>/result.json, failure.json, and the tables of `REPLICATE_TABLES`
<store>/studies/<study>/spec.yaml, plan.parquet, alignments.parquet, guide_taps.parquet,
mlflow_runs.json, tables, listing.json, confirm.json, expected_seconds.json, report.html
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

#: Files of a study: its plan, comparisons of networks with guides and of guides with labels,
#: MLflow's run ids by replicate, the spec as written, and the statements that were frozen before
#: their confirmation.
PLAN = "plan.parquet"
ALIGNMENTS, GUIDE_TAPS = "alignments.parquet", "guide_taps.parquet"
MLFLOW_RUNS = "mlflow_runs.json"
SPEC = "spec.yaml"
FROZEN = "confirm.json"
#: More files of a study: its page, a listing of what its tables were made of, and training seconds
#: that were expected, by replicate id.
REPORT = "report.html"
LISTING = "listing.json"
EXPECTED_SECONDS = "expected_seconds.json"

#: Columns that describe a condition: first, in this order, in every table of conditions.
CONDITION_COLUMNS = (
    "study", "task", "target", "treatment", "guide", "state", "control", "distance", "mapping",
    "schedule", "alpha", "stop_step",
)  # fmt: skip
#: Column of a plan: labels of the controls that a guided row has to beat before its effect is the
#: guide's. Null in other rows, and in plans of before there was such a column.
REQUIRED_CONTROLS = "required_controls"

#: Files of a replicate: its result, failure and provenance, and its tables.
RESULT, FAILURE, PROVENANCE = "result.json", "failure.json", "provenance.json"
HISTORY, PREDICTIONS, ALIGNMENT = "history.parquet", "predictions.parquet", "alignment.parquet"
REPLICATE_TABLES = (HISTORY, PREDICTIONS, ALIGNMENT)


class Status(StrEnum):
    """Status of a replicate in a store; `blocked` by a failed guide, `missing` if not yet ended."""

    finished = "finished"
    failed = "failed"
    blocked = "blocked"
    missing = "missing"


class RunKind(StrEnum):
    """Kind of a run in MLflow, its tag `archprior.kind`.

    A study's own run is above those of its conditions and searches, a condition's above those of
    its replicates, and that of a searched arm above those of its candidates.
    """

    study = "study"
    condition = "condition"
    search = "search"
    replicate = "replicate"
    candidate = "candidate"


#: Tags of a study's own run: digests of what its tables follow from, and of its page. Neither is
#: there while what it speaks of is being uploaded.
TABLES_TAG, REPORT_TAG = "archprior.tables", "archprior.report"


class Role(StrEnum):
    """Role of a replicate in its study.

    Candidates of a search, and their guides, are trained at tuning seeds: no table of results has
    them.
    """

    guide = "guide"
    baseline = "baseline"
    guided = "guided"
    control = "control"
    rival = "rival"
    candidate = "candidate"


#: The treatment of guided conditions and their controls, in the column `treatment`.
GUIDANCE = "guidance"


def is_rival(row: Mapping[str, Any]) -> bool:
    """Whether a rival, or a control of one, treats the target of a row of any table.

    Baselines have no treatment, nor have tables of before there were rivals.
    """
    treatment = row.get("treatment")
    return isinstance(treatment, str) and treatment != GUIDANCE


def arm_of(row: Mapping[str, Any]) -> str:
    """The word for seeds of a row of any table that are not its baseline's."""
    return "treated" if is_rival(row) else "guided"


#: Prefixes of metrics, before a task's own name of each.
VALIDATION, TEST = "validation/", "test/"
#: Prefix of metrics of the history that are the distance of a pair of taps: `<target>/<guide>`.
DISTANCE = "distance/"

#: Part of the label of a measure of alignment that was taken in training, on the first examples.
IN_TRAINING = "estimator=batches"
#: Moment of the guide, in the table `alignment`, that guides of a state have.
GUIDE_MOMENTS = {"trained": "final", "untrained": "initial"}
#: Prefixes of metrics in the history alone: test metrics at best validation so far, and metrics on
#: a fixed sample of the training data at the last step.
TEST_AT_BEST, TRAIN_SAMPLE = "test_at_best/", "train_sample/"


def required_guides(row: Mapping[str, Any]) -> list[str]:
    """Ids of the guides that the replicate of a plan's row waits for; of plans of any version."""
    if row.get("requires_ids") is not None:
        return list(row["requires_ids"])
    return [row["requires_id"]] if row.get("requires_id") is not None else []


def blocked_by(guide_id: str, error: str) -> str:
    """The error of a replicate that is blocked by its failed guide."""
    return f"guide {guide_id} failed: {error}"


#: Stands in a label for a value that is searched.
TUNED = "tuned"
