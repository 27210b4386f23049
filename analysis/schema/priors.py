"""Schema of the `priors` table, whose rows span states and controls."""

from __future__ import annotations

import pyarrow as pa

from analysis.schema.fields import CONDITION, EFFECT, INTEGER, REAL, optional

_PRIORS = {
    "architecture_prior": "untrained guide minus baseline",
    "architecture_specific": "untrained guide minus what it beats by least, a control or the "
    "baseline",
    "knowledge": "trained guide minus untrained guide",
    "total": "trained guide minus baseline",
    "geometry": "input control minus baseline",
    "architecture_beyond_input": "untrained guide minus input control",
    "label_part": "labels control (at the last pair) minus baseline",
    "trained_beyond_labels": "trained guide minus labels control (at the last pair)",
}


def _prior_fields() -> list[pa.Field]:
    fields = []
    for name, meaning in _PRIORS.items():
        fields += [
            optional(name, REAL, f"{meaning}, positive is better; null where not run"),
            optional(f"{name}_low", REAL, "lower limit of its interval"),
            optional(f"{name}_high", REAL, "upper limit of its interval"),
            optional(f"{name}_n", INTEGER, "seeds it is over; null where not run"),
        ]
    return fields


def _spanned(field: pa.Field) -> pa.Field:
    if field.name in ("state", "control"):
        return optional(field.name, field.type, "null: a row spans states and controls")
    return field


PRIORS = pa.schema([_spanned(field) for field in CONDITION] + EFFECT + _prior_fields())
