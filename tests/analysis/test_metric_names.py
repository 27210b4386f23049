"""Names of metrics in MLflow: it takes them all, and they can be read again."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, _validate_metric_name

from analysis.metric_names import LONGEST, escaped, unescaped

NAMES = st.one_of(
    st.text(alphabet="ab./:@ ä\n4", max_size=12), st.text(max_size=60), st.text(min_size=260)
)


@given(NAMES, NAMES)
@example("a//b", "a/b")
@example("../x", "x")
@example("a/", "a")
@example("a:40", "a@")
@example("", ":")
@example("x" * 300, "x" * 299)
def test_mlflow_takes_every_name_and_none_is_another(name: str, other: str) -> None:
    found = escaped(name)
    _validate_metric_name(found)
    assert len(found) <= MAX_ENTITY_KEY_LENGTH == LONGEST
    if ":." not in found:
        assert unescaped(found) == name
    assert (found == escaped(other)) == (name == other)


@pytest.mark.parametrize("name", ["train/loss", "distance/layers.0/b-1", "test/top 5", "a.b_c/D"])
def test_plain_names_stay(name: str) -> None:
    assert escaped(name) == unescaped(name) == name


def test_others_can_still_be_read() -> None:
    assert escaped("test/acc@5") == "test/acc:405"
    assert escaped("test/größe[%]") == "test/gr:c3:b6:c3:9fe:5b:25:5d"
    assert escaped("a//../b") == "a/:2f:2e:2e/b"
