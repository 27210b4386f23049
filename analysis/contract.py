"""Names that a study writes and analysis reads, each written here alone; imports nothing heavy.

<store>/replicates/<id>/result.json, failure.json, and the tables of `ARTIFACTS`
<store>/studies/<study>/spec.yaml, plan.parquet, alignments.parquet, mlflow_runs.json, tables
"""

from __future__ import annotations

from enum import StrEnum

#: Of a study: its plan; comparisons of baselines and guided targets with the guides; which run of
#: MLflow is which replicate's; the spec as written.
PLAN = "plan.parquet"
ALIGNMENTS = "alignments.parquet"
MLFLOW_RUNS = "mlflow_runs.json"
SPEC = "spec.yaml"

#: Of a replicate: what says that it is finished, or failed, and its tables.
RESULT, FAILURE, PROVENANCE = "result.json", "failure.json", "provenance.json"
HISTORY, PREDICTIONS, ALIGNMENT = "history.parquet", "predictions.parquet", "alignment.parquet"
ARTIFACTS = (HISTORY, PREDICTIONS, ALIGNMENT)


class Status(StrEnum):
    """What has become of a replicate."""

    finished = "finished"
    failed = "failed"
    blocked = "blocked"
    missing = "missing"


class Role(StrEnum):
    """What a replicate is in its study."""

    guide = "guide"
    baseline = "baseline"
    guided = "guided"
    control = "control"


#: Prefixes of metrics, before a task's own name of each.
VALIDATION, TEST = "validation/", "test/"


def blocked_by(guide_id: str, error: str) -> str:
    """Why a replicate is blocked whose guide has failed."""
    return f"guide {guide_id} failed: {error}"
