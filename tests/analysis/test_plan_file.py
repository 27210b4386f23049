"""Plans that are no plans: each kind was found by inputs of the fuzzer."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from analysis.errors import DamagedFileError
from analysis.plan_file import facts_of

COLUMNS = {
    "replicate_id": pa.array(["a", "b"]), "role": pa.array(["guide", "baseline"]),
    "task": pa.array(["digits", "digits"]), "target": pa.array(["cnn", "fcn"]),
    "seed": pa.array([0, 0]), "guide": pa.nulls(2), "state": pa.nulls(2), "control": pa.nulls(2),
    "alpha": pa.array([None, 1.0]), "requires_ids": pa.array([None, ["a"]]),
}  # fmt: skip
_TASK = {"primary_metric": "accuracy", "higher_is_better": {"accuracy": True}}
FACTS = {"tasks": {"digits": _TASK}}


def plan(**columns: pa.Array) -> pa.Table:
    content = json.dumps({"schema_version": 4} | FACTS)
    return pa.table(COLUMNS | columns).replace_schema_metadata({"archprior": content})


def no_texts(texts: list[str]) -> pa.Array:
    whole = pa.array(texts)
    offsets, content = whole.buffers()[1:]
    return pa.StringArray.from_buffers(
        len(texts), offsets, pa.py_buffer(b"\x80" * len(content.to_pybytes()))
    )


def test_a_plan_is_one() -> None:
    assert facts_of(plan(), "the plan")["tasks"] == FACTS["tasks"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"seed": pa.nulls(2, pa.int64())}, "no column seed, or values of it are missing"),
        ({"seed": pa.array([0.0, 0.5])}, "column seed is of double"),
        ({"alpha": pa.array([0, 2**62])}, "column alpha is of int64"),
        ({"target": no_texts(["cnn", "fcn"])}, "[Ii]nvalid UTF8"),
        (
            {"requires_ids": pa.ListArray.from_arrays(pa.array([0, 0, 1]), no_texts(["a"]))},
            "[Ii]nvalid UTF8",
        ),
    ],
)
def test_a_damaged_one_is_named(columns: dict[str, pa.Array], message: str) -> None:
    with pytest.raises(DamagedFileError, match=f"the plan is damaged .*{message}"):
        facts_of(plan(**columns), "the plan")
