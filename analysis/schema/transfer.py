"""Schema of the `transfer` table."""

from __future__ import annotations

import pyarrow as pa

from analysis.schema.baselines import BASELINES
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
from analysis.schema.search import TUNED

_TRANSFER = [
    *TUNED,
    required("primary", BOOLEAN, "whether it is the task's primary metric, which has the verdict"),
    optional(
        "confirm",
        BOOLEAN,
        "whether the spec named the row before the run, under confirm; null in rows of controls",
    ),
    required("n", INTEGER, "seeds at which baseline and guided both finished"),
    required("n_failed", INTEGER, "planned seeds that are not in n: failed, blocked or missing"),
    required(
        "n_failed_baseline",
        INTEGER,
        "planned seeds at which the baseline failed, or has no finite value",
    ),
    required(
        "n_failed_guided",
        INTEGER,
        "planned seeds at which this condition failed, was blocked, or has no finite value",
    ),
    optional("num_pairs", INTEGER, "mapped pairs of taps"),
    optional("baseline", REAL, "mean of the unguided target over the n seeds"),
    optional("baseline_spread", REAL, "its standard deviation over the n seeds; null for n < 2"),
    optional("baseline_median", REAL, "its median over the n seeds"),
    optional(
        "baseline_success",
        REAL,
        "part of the seeds, failed ones among them, at which the baseline is better than "
        "success_threshold (0 to 1)",
    ),
    optional(
        "guide_alone",
        REAL,
        "mean of the guide's architecture trained alone, over those of the n seeds where it "
        "finished",
    ),
    optional("guided", REAL, "mean of this condition over the n seeds"),
    optional("guided_spread", REAL, "its standard deviation over the n seeds; null for n < 2"),
    optional("guided_median", REAL, "its median over the n seeds"),
    optional("guided_success", REAL, "as baseline_success, of this condition"),
    optional("chance", REAL, "score of a guess, as the task has it; null where it has none"),
    optional(
        "success_threshold",
        REAL,
        "chance, and a tenth of the way from there to the guide alone, of rivals and mixtures to "
        "the mean of the task's guides; null where either is not known or they are no better than "
        "chance",
    ),
    optional(
        "seeds_disagree",
        BOOLEAN,
        "whether an arm holds both successes and failures, and n < 12: its mean is of two kinds "
        "of runs, and Student's interval too narrow",
    ),
    optional(
        "mcnemar_p",
        REAL,
        "exact two-sided p of McNemar's test of the two arms' successes, failed seeds among them",
    ),
    optional(
        "shuffled",
        REAL,
        "mean of the shuffled control, over those of the n seeds where it finished; null in rows "
        "of controls",
    ),
    optional("input", REAL, "the same for the input control"),
    optional("labels", REAL, "the same for one-hot labels at the last pair"),
    optional("labels_all", REAL, "the same for one-hot labels at all pairs"),
    optional("class_shuffled", REAL, "the same for features shuffled within each class"),
    optional("reversed", REAL, "the same for the guide's taps in reverse order"),
    optional("self", REAL, "the same for a guide of the target's own architecture"),
    optional("difference", REAL, "guided minus baseline, signed so that positive is better"),
    optional("difference_low", REAL, "lower limit of its interval"),
    optional("difference_high", REAL, "upper limit of its interval"),
    optional(
        "two_way_low",
        REAL,
        "lower limit of the 95% interval of the difference over seeds and clusters of test "
        "examples; of accuracy alone, null where test examples differ by seed",
    ),
    optional("two_way_high", REAL, "its upper limit"),
    optional(
        "difference_worst",
        REAL,
        "difference with failed seeds of this condition at chance, and failed baselines at the "
        "best baseline; the difference itself where nothing failed, null where chance is needed "
        "and not known",
    ),
    optional("difference_worst_low", REAL, "lower limit of its interval"),
    optional("difference_worst_high", REAL, "upper limit of its interval"),
    optional(
        "p_value",
        REAL,
        "two-sided p of the difference; null when its spread is zero or n < 3",
    ),
    optional(
        "p_adjusted",
        REAL,
        "p_value adjusted (Benjamini-Hochberg) over the guided rows of the study's primary "
        "metrics, where confirm rows are a family of their own, as rivals are; for another metric "
        "over its own "
        "guided rows; null in rows of controls",
    ),
    optional(
        "effect_size",
        REAL,
        "Hedges' g of the paired differences; null when their spread is zero or n < 3",
    ),
    optional(
        "margin",
        REAL,
        "the spec's margin of this metric: the largest difference that counts as none",
    ),
    optional(
        "tost_p",
        REAL,
        "p of two one-sided t tests of the difference against the margin; below .05 where its 90% "
        "interval lies inside",
    ),
    optional(
        "specific",
        REAL,
        "guided minus control, paired, positive is better: in a guided row against the control "
        "with the lowest lower limit, in a control's row against this control (an input control: "
        "with the trained guide where there is one)",
    ),
    optional("specific_low", REAL, "lower limit of its interval"),
    optional("specific_high", REAL, "upper limit of its interval"),
    optional("specific_n", INTEGER, "seeds it is over; null without a control"),
    optional("specific_control", TEXT, "the control that a guided row is compared with"),
    optional(
        "missing_controls",
        TEXT,
        "controls of a guided row without which 'helps, guide-specific' is not said, and why: not "
        "planned, not finished at every seed of the row, with another number of pairs, or not "
        "beaten with failed guided seeds at chance; null where none is missing",
    ),
    optional(
        "uncompared_controls",
        TEXT,
        "planned controls of a guided row that decide nothing, because they have another number "
        "of pairs; null where there is none",
    ),
    optional(
        "gap_closed",
        REAL,
        "difference divided by guide_alone minus baseline (ratio of means); null unless the "
        "interval of that gap is above zero",
    ),
    optional("gap_closed_low", REAL, "lower limit of its Fieller interval"),
    optional("gap_closed_high", REAL, "upper limit of its Fieller interval"),
    optional(
        "distance_start",
        REAL,
        "distance in the first guided report window, which is the first step alone, mean over the "
        "n seeds",
    ),
    optional(
        "distance_end",
        REAL,
        "distance in the last guided report window, a mean over its guided steps, mean over the n "
        "seeds",
    ),
    optional(
        "alignment_share",
        REAL,
        "part of the loss that was alignment (0 to 1), a mean over the guided steps and the n "
        "seeds; null where guidance came before training",
    ),
    optional(
        "at_ceiling",
        BOOLEAN,
        "whether the guide alone is no better than the baseline; null where the interval of its "
        "lead holds zero, or there is none",
    ),
    optional("interval", TEXT, "how the intervals were made; null where there is none"),
    optional("test", TEXT, "how p_value was made; null where there is none"),
    required(
        "verdict",
        TEXT,
        "'helps, guide-specific', 'helps, specificity not established' ('helps' or 'helps, "
        "prior-specific' of a rival without a guide), 'no more than CONTROL "
        "(within margin)', 'no effect (within margin)', 'hurts', 'not established', or 'control'; "
        "after 'descriptive: ' unless the metric is primary; with ' at equal steps only' where "
        "guidance helps and the interval of difference_matched is not above zero",
    ),
    optional(
        "verdict_adjusted",
        TEXT,
        "the verdict where p_adjusted is below .05 too, else 'not established'; null in rows of "
        "controls and of other metrics",
    ),
]

TRANSFER = pa.schema(CONDITION + EFFECT + _TRANSFER + BASELINES)
