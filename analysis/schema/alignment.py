"""Schema of the `alignment` table."""

from __future__ import annotations

import pyarrow as pa

from analysis.schema.fields import BOOLEAN, INTEGER, REAL, TEXT, optional, required

ALIGNMENT = pa.schema(
    [
        required("replicate_id", TEXT, "the replicate, a baseline or a guided one"),
        optional(
            "guide_id",
            TEXT,
            "replicate of the guide; null where none guided (controls input and uniform) and for "
            "an untrained self",
        ),
        optional(
            "guide_moment",
            TEXT,
            "initial (the untrained guide) or final (the trained one); null where none guided",
        ),
        required("moment", TEXT, "initial (before training) or final"),
        required("guide_tap", TEXT, "tap of the guide"),
        required("target_tap", TEXT, "tap of the target"),
        required(
            "measure",
            TEXT,
            "label of the similarity: linear_cka(unbiased=true) over the whole test split, "
            "measured after training, for baselines and guided targets; with estimator=batches, "
            "over the first 500 test examples, measured in training, for guided targets and "
            "controls",
        ),
        required("rows", TEXT, "what the rows of the features are: examples, positions or tokens"),
        required("n", INTEGER, "number of rows"),
        optional("similarity", REAL, "similarity of the two taps; null where it is undefined"),
        optional("target_collapsed", BOOLEAN, "the target's features do not vary over the rows"),
        optional("guide_collapsed", BOOLEAN, "the guide's features do not vary over the rows"),
    ]
)
