"""Schemas of the tables `search` and `budget_curve`, and the columns of a search in others."""

from __future__ import annotations

import pyarrow as pa

from analysis.schema.fields import (
    BOOLEAN,
    CONDITION,
    INTEGER,
    REAL,
    TEXT,
    optional,
    required,
)

_ARM = [
    *CONDITION,
    required("role", TEXT, "the arm that is searched: baseline, guided, control or rival"),
    required("metric", TEXT, "validation metric that chooses, such as validation/accuracy"),
    required("higher_is_better", BOOLEAN, "the metric's direction"),
]

SEARCH = pa.schema(
    [
        *_ARM,
        required("budget", INTEGER, "number of trials of the arm"),
        required("trial", INTEGER, "number of the trial, from 0, in the order they were asked for"),
        required("batch", INTEGER, "number of its batch, from 0"),
        required("point", TEXT, "values of the searched keys, as JSON"),
        required("status", TEXT, "finished, failed or missing; failed if a seed failed"),
        optional("value", REAL, "mean of the metric over the tuning seeds; null unless finished"),
        required("values", TEXT, "the metric by tuning seed, as JSON; null where it failed"),
        required("replicate_ids", TEXT, "ids of its replicates by tuning seed, as JSON"),
        required("chosen", BOOLEAN, "the arm's replicates are trained with its values"),
    ]
)

BUDGET_CURVE = pa.schema(
    [
        *_ARM,
        required("trials", INTEGER, "number of trials that b trials are drawn from"),
        required("b", INTEGER, "number of trials drawn"),
        optional(
            "expected",
            REAL,
            "expected value of the best of b trials, drawn with replacement (Dodge et al. 2019); "
            "failed trials count as the worst; null if all failed",
        ),
        optional("deviation", REAL, "standard deviation of the value of the best of b trials"),
    ]
)

#: Columns of `replicates`, and with `tuned` of `transfer`.
TUNING = [
    optional("budget", INTEGER, "trials of the search for its settings; null without a search"),
    optional("chosen", TEXT, "values that the search chose, as JSON; null without a search"),
]
TUNED = [required("tuned", BOOLEAN, "its settings and the baseline's were searched"), *TUNING]
