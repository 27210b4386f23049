"""Schema of the `pairs` table, whose rows are seeds of guided, control and rival conditions."""

from __future__ import annotations

import pyarrow as pa

from analysis.schema.fields import (
    BOOLEAN,
    CONDITION,
    EFFECT,
    INTEGER,
    REAL,
    TEXT,
    optional,
    required,
)

PAIRS = pa.schema(
    [
        *CONDITION,
        *EFFECT,
        required("primary", BOOLEAN, "whether it is the task's primary metric"),
        required("role", TEXT, "guided, control or rival"),
        required("seed", INTEGER, "the seed that condition, baseline and guide share"),
        required("replicate_id", TEXT, "replicate of this condition"),
        required("baseline_id", TEXT, "replicate of the unguided target with the same seed"),
        optional("guide_id", TEXT, "replicate of the guide's architecture trained alone"),
        required("status", TEXT, "of the replicate: finished, failed, blocked or missing"),
        optional("num_pairs", INTEGER, "mapped pairs of taps"),
        optional("baseline", REAL, "test value of the baseline; null unless it is finite"),
        optional("guided", REAL, "test value of the replicate; null unless it is finite"),
        optional(
            "difference",
            REAL,
            "guided minus baseline, signed so that positive is better; null unless both are there",
        ),
    ]
)
