"""Schema of the `confirm` table."""

from __future__ import annotations

import pyarrow as pa

from analysis.schema.fields import INTEGER, REAL, TEXT, optional, required

CONFIRM = pa.schema(
    [
        required("study", TEXT, "name of the study whose statements were frozen"),
        required("confirmation", TEXT, "name of the study at fresh seeds, in the same store"),
        required("attempt", INTEGER, "1 for the first confirmation, more after --anew"),
        required("place", TEXT, "where the spec has it: expect[0], confirm[0], ..."),
        required("statement", TEXT, "the rule or row as written"),
        optional("claim", TEXT, "what it shows, in words"),
        optional("metric", TEXT, "test metric (of a row the primary one), or alignment"),
        optional(
            "exploratory_value",
            REAL,
            "value when it was frozen: of a rule the quantity that it bounds, of a row the "
            "difference to the baseline, positive is better",
        ),
        optional("exploratory_low", REAL, "lower limit of its interval"),
        optional("exploratory_high", REAL, "upper limit of its interval"),
        required("exploratory_n", INTEGER, "seeds that it is over"),
        optional(
            "exploratory_verdict",
            TEXT,
            "of a row verdict_adjusted; of a rule 'holds' or 'fails', with ', established' where "
            "the whole interval does; null where there is no value",
        ),
        optional(
            "asked",
            TEXT,
            "verdict that fresh seeds are asked for: of a row the exploratory one, or 'helps, "
            "specificity not established' where that is 'not established'; of a rule 'holds, "
            "established'",
        ),
        optional("confirmed_value", REAL, "the value at fresh seeds"),
        optional("confirmed_low", REAL, "lower limit of its interval"),
        optional("confirmed_high", REAL, "upper limit of its interval"),
        required("confirmed_n", INTEGER, "fresh seeds that it is over"),
        optional(
            "confirmed_p",
            REAL,
            "of a row p_adjusted, over the named rows; null of rules, which intervals decide",
        ),
        optional("confirmed_verdict", TEXT, "as exploratory_verdict, at fresh seeds"),
        required("verdict", TEXT, "'confirmed', 'not confirmed' or 'contradicted'"),
        optional("problem", TEXT, "why fresh seeds could not decide"),
    ]
)
