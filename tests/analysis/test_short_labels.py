"""Short forms of labels, each still another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from analysis.short_labels import short_labels


def test_what_namesakes_share_is_left_out() -> None:
    labels = ["fcn(depth=2,width=32)", "fcn(norm=batch,width=32)", "resnet2d(blocks=1)"]
    assert short_labels(labels) == dict(
        zip(labels, ["fcn(depth=2)", "fcn(norm=batch)", "resnet2d"], strict=True)
    )


def test_options_may_have_brackets_and_commas() -> None:
    labels = ["a(x=f(p,q),y=[1,2])", "a(x=f(p,r),y=[1,2])"]
    assert list(short_labels(labels).values()) == ["a(x=f(p,q))", "a(x=f(p,r))"]


def test_guides_of_a_mixture_are_shortened_too() -> None:
    labels = ["0.5*a(x=1)+0.5*b(y=2)", "a(x=1)+b", "a(x=1)", "tuned*a(x=1)+tuned*b"]
    short = ["0.5*a+0.5*b(y=2)", "a+b", "a", "tuned*a+tuned*b"]
    assert short_labels(labels) == dict(zip(labels, short, strict=True))


def test_bare_names_stay() -> None:
    labels = ["fcn", "fcn(depth=2)"]
    assert short_labels(labels) == {label: label for label in labels}


@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                "a()",
                "a(",
                "a(x=1)",
                "a(x=1,y=2)",
                "a(y=2)",
                "b(x=(1)",
                "a+a(x=1)",
                "2*a(y=2)",
                "+",
            ]
        )
    )
)
def test_different_labels_stay_different(labels: list[str]) -> None:
    short = short_labels(labels)
    assert short.keys() == set(labels)
    assert len(set(short.values())) == len(short)
