"""Schema of the `consistency` table."""

from __future__ import annotations

import pyarrow as pa

from analysis.schema.fields import CONDITION, INTEGER, REAL, TEXT, optional, required

CONSISTENCY = pa.schema(
    [
        *CONDITION,
        required(
            "with",
            TEXT,
            "the other side of each pair: guide (the guide's architecture trained alone, at the "
            "same seed), other_guide (at the other seeds), baseline, other_baseline (the same of "
            "the unguided target), control (in a control's row: the guided condition that it "
            "controls, at the same seed)",
        ),
        required("n", INTEGER, "seeds at which both sides finished and have a kappa"),
        optional(
            "examples",
            INTEGER,
            "answers that both sides gave at a seed: test examples, of sequences scored positions",
        ),
        optional("observed", REAL, "share that both sides answer right or both wrong"),
        optional(
            "expected", REAL, "the same share, were the sides independent at their accuracies"
        ),
        optional(
            "kappa",
            REAL,
            "(observed - expected) / (1 - expected) of each pair, mean over pairs and seeds; null "
            "where a side is right always or never",
        ),
        optional("kappa_low", REAL, "lower limit of its bootstrap interval over test examples"),
        optional("kappa_high", REAL, "upper limit of its bootstrap interval over test examples"),
        optional("bound_low", REAL, "least kappa possible at these accuracies"),
        optional("bound_high", REAL, "greatest kappa possible at these accuracies"),
        optional(
            "kappa_matched",
            REAL,
            "kappa after right answers of the better side were made wrong at random until the "
            "accuracies agree, mean over all ways to do so",
        ),
        optional(
            "same_wrong",
            REAL,
            "of what both sides answer wrong, the share with the same wrong answer; null where "
            "there is nothing",
        ),
        optional(
            "excess",
            REAL,
            "in rows with the guide: kappa minus that of the baseline with the guide, over the n "
            "seeds at which both are defined; null in other rows",
        ),
        optional("excess_low", REAL, "lower limit of its interval"),
        optional("excess_high", REAL, "upper limit of its interval"),
        optional(
            "own",
            REAL,
            "in rows with the guide: kappa with the guide of the same seed minus the mean with "
            "those of the other seeds; null in other rows",
        ),
        optional("own_low", REAL, "lower limit of its interval"),
        optional("own_high", REAL, "upper limit of its interval"),
    ]
)
