"""The grammar of rules and published numbers: what is read, and what is said of what is not."""

from __future__ import annotations

import pytest

from analysis.expectations.rules import (
    Confirm,
    Filter,
    Published,
    Rule,
    Term,
    read_confirm,
    read_published,
    read_rule,
)


def term(name, **filters):
    return Term(name=name, filters=tuple(Filter(*pair) for pair in filters.items()))


def rule(left, operator=None, right=None, *, at_least=True, bound=0.0):
    return Rule(text="", left=left, operator=operator, right=right, at_least=at_least, bound=bound)


ALPHA = {"schedule": "alpha=1"}
GOOD = {
    "baseline <= .2": rule(term("baseline"), at_least=False, bound=0.2),
    "trained >= 75 points": rule(term("trained"), bound=0.75),
    "guide>=-1e-3": rule(term("guide"), bound=-1e-3),
    "trained - baseline >= 1 point": rule(term("trained"), "-", term("baseline"), bound=0.01),
    " untrained.shuffled  -  input<= +15 points ": rule(
        term("untrained.shuffled"), "-", term("input"), at_least=False, bound=0.15
    ),
    "trained.self / baseline <= .85": rule(
        term("trained.self"), "/", term("baseline"), at_least=False, bound=0.85
    ),
    "trained {schedule: alpha=1} - trained.noise {schedule: alpha=1} >= 0": rule(
        term("trained", **ALPHA), "-", term("trained.noise", **ALPHA)
    ),
    'untrained {schedule: "alpha=5,stop=200", alpha: 5} >= 0': rule(
        term("untrained", schedule="alpha=5,stop=200", alpha=5)
    ),
    "uniform{task: 'a {b} - c >= d', stop_step: null}>=0": rule(
        term("uniform", task="a {b} - c >= d", stop_step=None)
    ),
    "trained.class_shuffled - labels_all >= 0": rule(
        term("trained.class_shuffled"), "-", term("labels_all")
    ),
    "untrained.reversed - labels >= 0": rule(term("untrained.reversed"), "-", term("labels")),
    "trained - control {control: mine(size=2), state: trained} >= 0": rule(
        term("trained"), "-", term("control", control="mine(size=2)", state="trained")
    ),
    "baseline {target: rnn(init=orthogonal), state: trained} >= 0": rule(
        term("baseline", target="rnn(init=orthogonal)", state="trained")
    ),
}


@pytest.mark.parametrize("text", GOOD)
def test_rules(text):
    found = read_rule(text)
    expected = GOOD[text]
    assert (found.left, found.operator, found.right) == (
        expected.left,
        expected.operator,
        expected.right,
    )
    assert (found.at_least, found.bound) == (expected.at_least, pytest.approx(expected.bound))
    assert found.text == " ".join(text.split())


def test_a_mapping_holds_more():
    found = read_rule(
        {
            "rule": "trained {guide: b} - trained.shuffled >= 0",
            "claim": "it helps",
            "metric": "loss",
            "where": {"guide": "a", "state": "untrained", "alpha": 1},
        }
    )
    assert (found.claim, found.metric) == ("it helps", "loss")
    # A term's own filter comes first, and its name says its state.
    assert found.left == term("trained", guide="b", alpha=1)
    assert found.right == term("trained.shuffled", guide="a", alpha=1)
    whose = read_rule({"rule": "baseline >= 0", "where": {"state": "untrained"}})
    assert whose.left == term("baseline", state="untrained")


BAD = [
    ("trained", ["neither >= nor <=", "TERM - TERM >= NUMBER"]),
    ("trained > 0", ["use >= or <="]),
    ("trained = 0", ["use >= or <="]),
    ("0 <= trained <= 1", ["more than one"]),
    ("trained >= much", ["'much' is not a number"]),
    ("trained >= 4 %", ["'4 %' is not a number"]),
    ("trained >= nan", ["'nan' is not a number"]),
    ("trained + baseline >= 0", ["'trained + baseline' is not one term or two"]),
    ("trained - baseline - guide >= 0", ["is not one term or two"]),
    (">= 0", ["is not one term or two"]),
    ("trained {task: a >= 0", ["a brace is not closed"]),
    (
        "traned >= 0",
        ["unknown term 'traned'; did you mean 'trained'?", "untrained", "docs/writing-a"],
    ),
    ("trained.shufled >= 0", ["did you mean 'trained.shuffled'?"]),
    ("shuffled >= 0", ["unknown term 'shuffled'"]),
    ("trained.input >= 0", ["the control input has no state; write input"]),
    ("trained.labels_all >= 0", ["the control labels_all has no state; write labels_all"]),
    ("untrained.class_shuffled >= 0", ["did you mean 'trained.class_shuffled'?"]),
    ("control {state: trained} >= 0", ["say which control in braces", "{control: LABEL}"]),
    ("trained / baseline >= 3 points", ["a ratio has no points"]),
    ("trained {shedule: a} >= 0", ["unknown column 'shedule'; did you mean 'schedule'?"]),
    ("trained {seed: 1} >= 0", ["unknown column 'seed'"]),
    ("trained {state: trained} >= 0", ["a term has its state by its name"]),
    ("trained {schedule: alpha=5,stop=200} >= 0", ["quotes", "'stop=200'"]),
    ("trained {task: a, task: b} >= 0", ["a column stands twice"]),
    ("trained {task: [a]} >= 0", ["task: give a label or a number, not ['a']"]),
    ("trained {alpha: one} >= 0", ["alpha: give a number, not 'one'"]),
    ("trained {: >= 0", ["a brace is not closed"]),
    ("trained {!!python/name:os.system x: y} >= 0", ["not a YAML mapping"]),
    (5, ["give text, or a mapping with rule"]),
    ({"claim": "nothing"}, ["rule is needed"]),
    ({"rule": 5}, ["rule: give text, not 5"]),
    ({"rule": "guide >= 0", "metrics": "loss"}, ["unknown key 'metrics'; did you mean 'metric'?"]),
    ({"rule": "guide >= 0", "where": ["task"]}, ["where: give a mapping"]),
    ({"rule": "guide >= 0", "where": {"taks": 1}}, ["did you mean 'task'?"]),
    ({"rule": "guide >= 0", "metric": "alignment"}, ["a guide alone has none"]),
]


@pytest.mark.parametrize(("content", "words"), BAD, ids=[str(content) for content, _ in BAD])
def test_what_is_wrong_is_said(content, words):
    with pytest.raises(ValueError, match=r"\w") as caught:
        read_rule(content)
    assert [word for word in words if word not in str(caught.value)] == []


def test_published_numbers():
    given = {"of": "trained {guide: a}", "value": 1, "source": "a paper", "spread": 0.5}
    assert read_published(given) == Published(
        of=term("trained", guide="a"), value=1.0, source="a paper", spread=0.5
    )
    assert read_published(given | {"metric": "loss"}).metric == "loss"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"of": "traned"}, "did you mean 'trained'"),
        ({"of": "trained - baseline"}, "is not a term"),
        ({"value": None}, "value is needed"),
        ({"value": "9"}, "value: give a finite number"),
        ({"value": float("nan")}, "value: give a finite number"),
        ({"spread": -1}, "spread is -1; allowed: 0 or more"),
        ({"source": None}, "source is needed"),
        ({"wher": {}}, "unknown key 'wher'"),
    ],
)
def test_bad_published_numbers(change, words):
    with pytest.raises(ValueError, match=words):
        read_published({"of": "trained", "value": 1, "source": "a paper"} | change)


@pytest.mark.parametrize(
    "content",
    [
        'trained {guide: "a,b", alpha: 1}',
        {"row": "trained", "where": {"guide": "a,b", "alpha": 1}},
        {"row": 'trained {guide: "a,b"}', "where": {"alpha": 1}},
    ],
)
def test_rows_to_confirm(content):
    expected = Confirm(row=term("trained", guide="a,b", alpha=1))
    assert read_confirm(content) == expected
    assert read_confirm(expected) is expected
    assert read_confirm(expected.content()) == expected


def test_a_row_to_confirm_may_have_a_claim_and_any_label():
    found = read_confirm({"row": "untrained", "claim": "c", "where": {"mapping": "of({a: [b]})"}})
    assert found == Confirm(row=term("untrained", mapping="of({a: [b]})"), claim="c")
    assert read_confirm(found.content()) == found


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("traned", "unknown term 'traned'; did you mean 'trained'"),
        ("labels", "'labels' has no verdict; allowed: trained, untrained"),
        ("trained >= 0", "row: 'trained >= 0' is not a term"),
        ({"where": {}}, "row is needed"),
        ({"row": 5}, "row: give text, not 5"),
        ({"row": "trained", "rule": 1}, "unknown key 'rule'"),
        ({"row": "trained", "where": {"state": "trained"}}, "a term has its state by its name"),
        (None, "give text, or a mapping with row"),
    ],
)
def test_bad_rows_to_confirm(content, words):
    with pytest.raises(ValueError, match=words):
        read_confirm(content)


def test_equal_up_to_rounding_holds():
    at_least, at_most = read_rule("trained >= 3 points"), read_rule("trained <= 3 points")
    for value in (0.8 - 0.77, 0.1 * 0.3):
        assert at_least.holds(value)
        assert at_most.holds(value)
    assert not at_least.holds(0.0299)
    assert not at_most.holds(0.0301)


def test_established_needs_the_right_end_of_the_interval():
    at_least, at_most = read_rule("trained >= 3 points"), read_rule("trained <= 3 points")
    assert at_least.established(0.031, 0.5)
    assert not at_least.established(0.029, 0.5)
    assert at_most.established(-0.5, 0.029)
    assert not at_most.established(-0.5, 0.031)
    assert not at_least.established(None, None)
