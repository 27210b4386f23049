"""The form in which a frozen guide's training features are cached, fixed by the plan of a study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from trainers.options import check_fields

#: Without a cache in the spec, features on fixed data are kept in memory up to this size; above it
#: the guide runs in every step. The limit is part of the definition of a result, because the two
#: differ in their last bits.
DEFAULT_BYTES = 2**30

Form = Literal["features", "gram", "live"]
DType = Literal["float32", "float16"]


@dataclass(frozen=True, kw_only=True)
class Cache:
    """The form in which a guide's features of the training examples are cached.

    `features` of every tap, the `gram` matrix of every tap (products between all examples), or
    nothing (`live`: the guide runs in every step). `feature_bytes` is the size of all features in
    float32, which decides the form without a cache in the spec.
    """

    form: Form
    feature_bytes: int
    dtype: DType = "float32"

    def __post_init__(self) -> None:
        check_fields(self, "cache")

    def identity(self) -> dict[str, Any] | None:
        """JSON content that enters ids; None if the results are those of a spec without a cache."""
        default = "features" if self.feature_bytes <= DEFAULT_BYTES else "live"
        if self.form == default and (self.form == "live" or self.dtype == "float32"):
            return None
        return {"form": self.form} | ({} if self.form == "live" else {"dtype": self.dtype})
