"""Schema of the table `dials`: mixtures of guides by their weights."""

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

_DIALS = [
    required("primary", BOOLEAN, "whether it is the task's primary metric"),
    required("mixture", TEXT, "guides of the dial, with their states"),
    required("weights", TEXT, "weight of each guide of the dial, in their order"),
    optional(
        "share",
        REAL,
        "the first guide's part of the sum of the weights (0 to 1); null where it was searched",
    ),
    required("n", INTEGER, "seeds at which the baseline and this setting finished"),
    optional("difference", REAL, "mean paired difference to the baseline, positive is better"),
    optional("difference_low", REAL, "lower limit of its interval"),
    optional("difference_high", REAL, "upper limit of its interval"),
    optional("best", BOOLEAN, "whether its mean is the best of the dial, over best_n seeds"),
    optional(
        "best_n", INTEGER, "seeds at which the baseline and all settings with any value finished"
    ),
    optional("best_probability", REAL, "part of the bootstrap draws of seeds in which it is best"),
    optional(
        "best_share_low",
        REAL,
        "lower limit (95 %) of the share of the best setting, over the bootstrap draws; of dials "
        "of two guides",
    ),
    optional("best_share_high", REAL, "its upper limit"),
    optional("better_end", TEXT, "of a mixture, the guide alone that it surely beats by least"),
    optional("beyond_ends", REAL, "mixture minus that guide alone, positive is better"),
    optional("beyond_ends_low", REAL, "lower limit of its interval"),
    optional("beyond_ends_high", REAL, "upper limit of its interval"),
    optional(
        "beyond_ends_p",
        REAL,
        "p of the intersection-union test that the mixture beats every guide alone: the largest "
        "one-sided p, times the number of mixtures of the dial (Bonferroni)",
    ),
    optional(
        "beats_ends",
        BOOLEAN,
        "whether that p is below .025; null for guides alone, and where one of them was not run",
    ),
]

DIALS = pa.schema(CONDITION + EFFECT + _DIALS)
