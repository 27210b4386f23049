"""Columns of the `transfer` table about baselines at equal compute and at best validation."""

from __future__ import annotations

import pyarrow as pa

from analysis.schema.fields import INTEGER, REAL, optional


def _matched(name: str, cost: str) -> list[pa.Field]:
    asked = "null where none was asked for, and in rows of controls"
    return [
        optional(
            f"baseline_{name}",
            REAL,
            f"mean of the unguided target trained for {cost}, over its {name}_n seeds; {asked}",
        ),
        optional(
            f"difference_{name}",
            REAL,
            f"guided minus baseline_{name}, paired, positive is better",
        ),
        optional(f"difference_{name}_low", REAL, "lower limit of its interval"),
        optional(f"difference_{name}_high", REAL, "upper limit of its interval"),
        optional(f"{name}_n", INTEGER, "seeds at which this condition and that baseline finished"),
    ]


BASELINES = [
    optional(
        "flops",
        REAL,
        "floating-point operations of one training of this condition, counted from shapes without "
        "any cache; null where no matched baseline was asked for",
    ),
    *_matched("matched", "as many operations (flops), rounded up by less than 5 % of its steps"),
    *_matched("matched_full", "these and the operations of the guide's own training"),
    optional(
        "baseline_best",
        REAL,
        "mean test value of the baseline at its report of best validation, over the n seeds; "
        "descriptive; null unless both arms were scored there at each of them",
    ),
    optional("guided_best", REAL, "the same of this condition, at its own best report"),
    optional(
        "difference_best",
        REAL,
        "guided_best minus baseline_best, paired, positive is better",
    ),
    optional("difference_best_low", REAL, "lower limit of its interval"),
    optional("difference_best_high", REAL, "upper limit of its interval"),
]
