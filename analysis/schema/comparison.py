"""Schema of a comparison of two studies, which is printed, not stored."""

from __future__ import annotations

import pyarrow as pa

from analysis.schema.fields import BOOLEAN, CONDITION, INTEGER, REAL, TEXT, optional, required

COMPARISON = pa.schema(
    [
        *(each for each in CONDITION if each.name != "study"),
        required("role", TEXT, "guide, baseline, guided, control or rival"),
        required("metric", TEXT, "bare name of the test metric; rates are fractions of 1"),
        required("higher_is_better", BOOLEAN, "the metric's direction"),
        required("primary", BOOLEAN, "whether it is the task's primary metric"),
        required("quantity", TEXT, "level (the test value), or effect (against the baseline)"),
        required("n_first", INTEGER, "seeds with a value in the first study"),
        required("n_second", INTEGER, "seeds with a value in the second study"),
        required("n", INTEGER, "seeds with a value in both"),
        required("n_same", INTEGER, "those of the n with the very same replicates and values"),
        optional("first", REAL, "mean of the first study, over the n seeds, or its own if n is 0"),
        optional("second", REAL, "the same of the second study"),
        optional("difference", REAL, "second minus first, paired by seed, positive is better"),
        optional("difference_low", REAL, "lower limit of its 95% Student t interval over seeds"),
        optional("difference_high", REAL, "upper limit of its interval"),
        optional("p_value", REAL, "two-sided p of a paired t test; null without an interval"),
        optional("verdict_first", TEXT, "verdict of the first study, in guided rows of effects"),
        optional("verdict_second", TEXT, "verdict of the second study"),
        optional(
            "outcome",
            TEXT,
            "same replicates, equal (to the last bit), differs (the interval excludes zero), not "
            "established, no shared seed, only in the first, only in the second; null where "
            "neither has a result",
        ),
    ]
)
