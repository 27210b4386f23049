"""Schema of the `trainability` table."""

from __future__ import annotations

import pyarrow as pa

from analysis.schema.fields import BOOLEAN, EFFECT, INTEGER, REAL, TEXT, optional, required


def _levels(prefix: str, who: str) -> list[pa.Field]:
    return [
        optional(
            f"{prefix}train",
            REAL,
            f"mean of {who} on a fixed sample of the training data, over the n seeds",
        ),
        optional(f"{prefix}test", REAL, f"mean of {who} on test data, over the n seeds"),
        optional(
            f"{prefix}gap",
            REAL,
            f"{prefix}train minus {prefix}test, signed so that positive is better on training data",
        ),
    ]


def _difference(name: str, description: str) -> list[pa.Field]:
    return [
        optional(name, REAL, description),
        optional(f"{name}_low", REAL, "lower limit of its interval"),
        optional(f"{name}_high", REAL, "upper limit of its interval"),
    ]


TRAINABILITY = pa.schema(
    [
        required("study", TEXT, "name of the study"),
        required("task", TEXT, "label of the task"),
        required("target", TEXT, "label of the architecture that learns, unguided"),
        required("guide", TEXT, "label of the guiding architecture, trained alone"),
        *EFFECT,
        required("primary", BOOLEAN, "whether it is the task's primary metric"),
        optional(
            "budget", INTEGER, "trials of the target's hyperparameter search; null where not tuned"
        ),
        required(
            "n",
            INTEGER,
            "seeds at which target and guide both have a test value and one on the training "
            "sample; older replicates have none there",
        ),
        required("n_failed", INTEGER, "planned seeds at which the target failed"),
        *_levels("", "the unguided target"),
        *_levels("guide_", "the guide alone"),
        *_difference("gap_difference", "gap minus guide_gap, paired by seed"),
        *_difference(
            "train_difference", "train minus guide_train, paired by seed, positive is better"
        ),
        optional(
            "success",
            REAL,
            "part of the ended seeds, failed ones among them, at which the target is better than "
            "chance and a tenth of the way from there to the guide (0 to 1); null where chance is "
            "not known or the guide no better",
        ),
        optional("overfits", BOOLEAN, "whether the interval of gap_difference is above zero"),
        optional("underfits", BOOLEAN, "whether the interval of train_difference is below zero"),
        optional(
            "converges_badly",
            BOOLEAN,
            "whether seeds failed, or some succeeded and others did not",
        ),
        required(
            "verdict",
            TEXT,
            "which of 'overfits', 'underfits' and 'converges badly' hold, 'not established' where "
            "none is shown, or 'not known' where it was not measured; after 'descriptive: ' unless "
            "the metric is primary",
        ),
    ]
)
