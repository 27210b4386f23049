"""Schema of the `predictors` table, whose rows are guided conditions by predictor."""

from __future__ import annotations

import pyarrow as pa

from analysis.schema.fields import CONDITION, EFFECT, INTEGER, REAL, TEXT, optional, required

PREDICTORS = pa.schema(
    [
        *CONDITION,
        *EFFECT,
        required(
            "predictor",
            TEXT,
            "initial_alignment, label_similarity, guide_score or effective_rank; see above",
        ),
        optional(
            "value",
            REAL,
            "value of the predictor, mean over the seeds that have one; null where it was not "
            "measured",
        ),
        optional(
            "difference",
            REAL,
            "what guidance changed, as in transfer: positive is better, mean over the n seeds",
        ),
        required("n", INTEGER, "seeds at which baseline and guided both finished"),
        optional(
            "predicted",
            REAL,
            "difference of this guide that the other guides at this target let expect: on the line "
            "of least squares through theirs; null with fewer than 4 guides",
        ),
        optional("predicted_low", REAL, "lower limit of its 95% prediction interval, Student t"),
        optional("predicted_high", REAL, "upper limit of its 95% prediction interval, Student t"),
        required(
            "guides",
            INTEGER,
            "guides of this group in a block of guides x targets without a gap: while a pair lacks "
            "its value or difference, the guide or target that lacks most is left out",
        ),
        required(
            "targets", INTEGER, "targets in that block, at which all of these guides have both"
        ),
        optional(
            "spearman",
            REAL,
            "Spearman's correlation of value and difference over guides x targets, each less its "
            "mean over the guides of the target; of guide_score, positive where better guides "
            "teach better; null with fewer than 3 guides, and where one side does not vary",
        ),
        optional(
            "spearman_low", REAL, "lower limit of its 95% interval, over 2,000 draws of guides"
        ),
        optional(
            "spearman_high", REAL, "upper limit of its 95% interval, over 2,000 draws of guides"
        ),
        optional(
            "spearman_p", REAL, "its two-sided p: how often permuted guides correlate as strongly"
        ),
        optional(
            "permutations", INTEGER, "permutations of guides: all there are, or 10,000 at random"
        ),
        optional(
            "left_out_low",
            REAL,
            "smallest correlation with one guide left out; null with fewer than 4 guides",
        ),
        optional("left_out_high", REAL, "largest correlation with one guide left out"),
        optional("error", REAL, "mean absolute error of the predictions, in the metric's unit"),
        optional(
            "error_reduction",
            REAL,
            "by how much that is less than where the mean of the other guides at the target is "
            "predicted, mean over guides",
        ),
        optional(
            "error_reduction_low",
            REAL,
            "lower limit of its approximate 95% interval (errors of two guides share data), "
            "Student t over guides; null with fewer than 5 guides",
        ),
        optional(
            "error_reduction_high",
            REAL,
            "upper limit of its approximate 95% interval; null with fewer than 5 guides",
        ),
        required(
            "verdict",
            TEXT,
            "higher teaches better, or lower teaches better, where the interval of spearman is on "
            "one side of 0 and its p at most .05; not established; not established, too few guides "
            "(fewer than 5); not established, no variation (null spearman)",
        ),
    ]
)
