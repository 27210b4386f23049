"""Schema of the `expectations` table."""

from __future__ import annotations

import pyarrow as pa

from analysis.schema.fields import BOOLEAN, INTEGER, REAL, TEXT, optional, required

EXPECTATIONS = pa.schema(
    [
        required("study", TEXT, "name of the study"),
        required("place", TEXT, "where the spec has it: expect[0], published[0], ..."),
        required("rule", TEXT, "the rule as written; of a published number the term it is of"),
        optional("claim", TEXT, "what the rule shows, in words"),
        optional(
            "metric",
            TEXT,
            "test metric, alignment (final similarity of the mapped pairs), or a column of the "
            "table consistency",
        ),
        optional(
            "value",
            REAL,
            "mean, paired difference (left minus right) or ratio of means over the n seeds, in the "
            "metric's own unit, or what consistency has; null where there is none",
        ),
        optional(
            "low",
            REAL,
            "lower limit of its interval (a ratio's is Fieller's, of consistency its own)",
        ),
        optional("high", REAL, "upper limit of its interval"),
        required("n", INTEGER, "seeds at which all terms have a value"),
        optional(
            "holds",
            BOOLEAN,
            "whether the value satisfies the rule; null where it cannot be checked, and of "
            "published numbers",
        ),
        optional("established", BOOLEAN, "whether the whole interval does; null where holds is"),
        optional("published", REAL, "the published number; null of rules"),
        optional("published_spread", REAL, "its spread, as printed"),
        optional("source", TEXT, "where it was published"),
        optional("problem", TEXT, "why a rule cannot be checked, or a number not be compared"),
    ]
)
