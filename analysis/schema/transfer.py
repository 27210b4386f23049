"""Schema of the `transfer` table."""

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

_TRANSFER = [
    required("n", INTEGER, "seeds at which baseline and guided both finished"),
    required("n_failed", INTEGER, "planned seeds that are not in n: failed, blocked or missing"),
    optional("num_pairs", INTEGER, "mapped pairs of taps"),
    optional("baseline", REAL, "mean of the unguided target over the n seeds"),
    optional(
        "guide_alone",
        REAL,
        "mean of the guide's architecture trained alone, over those of the n seeds where it "
        "finished",
    ),
    optional("guided", REAL, "mean of this condition over the n seeds"),
    optional(
        "shuffled",
        REAL,
        "mean of the shuffled control, over those of the n seeds where it finished; null in rows "
        "of controls",
    ),
    optional("input", REAL, "the same for the input control"),
    optional("difference", REAL, "guided minus baseline, signed so that positive is better"),
    optional("difference_low", REAL, "lower limit of its interval"),
    optional("difference_high", REAL, "upper limit of its interval"),
    optional("p_value", REAL, "two-sided p of the difference; null when its spread is zero"),
    optional(
        "p_adjusted",
        REAL,
        "p_value adjusted over the guided rows of this metric (Benjamini-Hochberg); null in rows "
        "of controls",
    ),
    optional(
        "effect_size",
        REAL,
        "Hedges' g of the paired differences; null when their spread is zero or n < 3",
    ),
    optional(
        "specific",
        REAL,
        "guided minus control, paired, positive is better: in a guided row against the control it "
        "beats by least, in a control's row against this control (an input control: with the "
        "trained guide where there is one)",
    ),
    optional("specific_low", REAL, "lower limit of its interval"),
    optional("specific_high", REAL, "upper limit of its interval"),
    optional("specific_control", TEXT, "the control a guided row beats by least"),
    optional(
        "gap_closed",
        REAL,
        "difference divided by guide_alone minus baseline (ratio of means); null unless the "
        "interval of that gap is above zero",
    ),
    optional("gap_closed_low", REAL, "lower limit of its Fieller interval"),
    optional("gap_closed_high", REAL, "upper limit of its Fieller interval"),
    optional("distance_start", REAL, "distance at the first guided step, mean over the n seeds"),
    optional("distance_end", REAL, "distance at the last guided step, mean over the n seeds"),
    optional("alignment_share", REAL, "part of the loss that was alignment at the end (0 to 1)"),
    optional("at_ceiling", BOOLEAN, "the baseline is at least as good as the guide alone"),
    optional("interval", TEXT, "how the intervals were made; null where there is none"),
    optional("test", TEXT, "how p_value was made; null where there is none"),
    required(
        "verdict",
        TEXT,
        "'helps, guide-specific', 'helps, specificity not established', 'helps, control not run', "
        "'hurts', 'not established', or 'control'",
    ),
]

TRANSFER = pa.schema(CONDITION + EFFECT + _TRANSFER)
