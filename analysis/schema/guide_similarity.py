"""Schema of the `guide_similarity` table, whose rows are pairs of guides and span targets."""

from __future__ import annotations

import pyarrow as pa

from analysis.schema.fields import CONDITION, EFFECT, INTEGER, REAL, TEXT, optional, required


def _of_pair(field: pa.Field) -> pa.Field:
    if field.name == "target":
        return optional(field.name, field.type, "null: a row spans targets")
    if field.name == "guide":
        return required(field.name, field.type, "label of one guide")
    return field


GUIDE_SIMILARITY = pa.schema(
    [
        *map(_of_pair, CONDITION),
        *EFFECT,
        required("other_guide", TEXT, "label of the other guide"),
        required("guides", INTEGER, "guides of this group: rows of the transfer matrix"),
        required("targets", INTEGER, "targets that all of them guided, with a result: its columns"),
        optional(
            "transfer_distance",
            REAL,
            "root mean square, over targets, of the difference between the two guides' rows of the "
            "transfer matrix (column difference of transfer, in the metric's unit); null with "
            "fewer than 2 targets",
        ),
        optional(
            "transfer_correlation",
            REAL,
            "Pearson correlation of the two rows over targets; null with fewer than 3",
        ),
        optional(
            "alignment_distance",
            REAL,
            "root mean square difference of the two guides' profiles: for each tap of each trained "
            "baseline its similarity to the guide's most similar tap (table alignment), mean over "
            "seeds; null where a guide was not compared",
        ),
        optional(
            "mantel",
            REAL,
            "Mantel's r, of all pairs of guides: correlation of transfer_distance and "
            "alignment_distance; null with fewer than 3 guides or 2 targets",
        ),
        optional(
            "mantel_p",
            REAL,
            "its one-sided p: share of permutations of the guides with an r as great",
        ),
        optional(
            "permutations", INTEGER, "permutations of guides: all there are, or 10,000 at random"
        ),
        optional(
            "cophenetic_distance",
            REAL,
            "transfer_distance at which the two guides join (average linkage); null with fewer "
            "than 3 guides or 2 targets",
        ),
        optional(
            "cluster",
            TEXT,
            "guides of the cluster in which they join, parted by ' | '; null as well",
        ),
        optional(
            "cluster_support",
            REAL,
            "share of 1,000 bootstrap draws of seeds in which just these guides form a cluster; 1 "
            "for the cluster of all guides; null with fewer than 3 seeds",
        ),
        optional("n", INTEGER, "seeds at which all guides and targets have a result"),
    ]
)
