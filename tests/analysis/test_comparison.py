"""Two studies side by side: pairing by replicate and seed, signs, intervals, what one lacks."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.cells import records
from analysis.comparison import Tables, comparison_table, condition, counted, differing
from analysis.comparison_page import page
from analysis.transfer import transfer_table


def seeds(*values: Any) -> dict[int, Any]:
    return dict(enumerate(values))


BASELINE = (0.50, 0.55, 0.52, 0.51)
FIRST, SECOND = (0.70, 0.73, 0.74, 0.71), (0.75, 0.79, 0.78, 0.77)


@pytest.fixture
def side(toy: Any, tasks: Any) -> Any:
    """The tables of a study; its replicates have ids of their own with a `prefix`."""

    def of(guided: tuple[Any, ...], *, prefix: str = "", **columns: Any) -> Tables:
        study = toy().guide(seeds(0.9, 0.9, 0.9, 0.9)).baseline(seeds(*BASELINE))
        study.guided(seeds(*guided), **columns).control("shuffled", seeds(0.5, 0.5, 0.5, 0.5))
        replicates = study.replicates()
        transfer = transfer_table(replicates, study.histories(), tasks)
        for name in ("replicate_id", "baseline_id", "guide_id"):
            replicates[name] = prefix + replicates[name]
        return Tables(replicates, transfer)

    return of


def row_of(table: pd.DataFrame, **columns: Any) -> Any:
    chosen = table
    for name, value in ({"metric": "accuracy", "role": "guided"} | columns).items():
        chosen = chosen[chosen[name] == value]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_seeds_are_paired(side: Any) -> None:
    table = comparison_table(side(FIRST), side(SECOND, prefix="new/"))
    found = row_of(table, quantity="level")
    expected = stats.ttest_rel(SECOND, FIRST)
    interval = expected.confidence_interval(0.95)
    assert (found["n"], found["n_same"]) == (4, 0)
    assert found["difference"] == pytest.approx(np.mean(SECOND) - np.mean(FIRST))
    assert found["difference_low"] == pytest.approx(interval.low)
    assert found["difference_high"] == pytest.approx(interval.high)
    assert found["p_value"] == pytest.approx(expected.pvalue)
    assert found["outcome"] == "differs"
    assert row_of(table, quantity="level", role="baseline")["outcome"] == "equal"


def test_an_effect_is_against_the_own_baseline(side: Any) -> None:
    table = comparison_table(side(FIRST), side(SECOND, prefix="new/"))
    found = row_of(table, quantity="effect")
    assert found["first"] == pytest.approx(np.mean(np.subtract(FIRST, BASELINE)))
    assert found["second"] == pytest.approx(np.mean(np.subtract(SECOND, BASELINE)))
    assert found["verdict_first"] == "helps, specificity not established"
    assert set(table.loc[table["quantity"] == "effect", "role"]) == {"guided", "control"}


def test_of_a_loss_less_is_better(side: Any) -> None:
    table = comparison_table(side(FIRST), side(SECOND, prefix="new/"))
    for quantity in ("level", "effect"):
        loss, accuracy = (row_of(table, quantity=quantity, metric=m) for m in ("loss", "accuracy"))
        assert loss["difference"] == pytest.approx(accuracy["difference"])
        assert loss["difference_low"] == pytest.approx(accuracy["difference_low"])


def test_the_same_replicates_do_not_differ(side: Any) -> None:
    table = comparison_table(side(FIRST), side(FIRST))
    assert set(table["outcome"]) == {"same replicates"}
    assert (table["difference"] == 0).all()
    assert differing(table) == []
    assert "4 same replicates" in counted(table.to_dict("records"))


def test_one_id_with_other_numbers_is_not_the_same(side: Any) -> None:
    table = comparison_table(side(FIRST), side(SECOND))
    found = row_of(table, quantity="level")
    assert (found["n"], found["n_same"], found["outcome"]) == (4, 0, "differs")
    assert row_of(table, quantity="effect")["outcome"] == "differs"
    assert row_of(table, quantity="level", role="baseline")["outcome"] == "same replicates"


def test_means_are_over_the_shared_seeds_alone(side: Any) -> None:
    table = comparison_table(side(FIRST), side((0.75, "failed", 0.78, "missing"), prefix="new/"))
    found = row_of(table, quantity="level")
    assert (found["n_first"], found["n_second"], found["n"]) == (4, 2, 2)
    assert found["first"] == pytest.approx((FIRST[0] + FIRST[2]) / 2)
    assert pd.isna(found["difference_low"])
    assert found["outcome"] == "not established"


def test_without_a_shared_seed_there_is_no_difference(side: Any) -> None:
    lost = ("failed", "failed", 0.78, 0.77)
    table = comparison_table(side((0.7, 0.73, "missing", "missing")), side(lost, prefix="new/"))
    found = row_of(table, quantity="level")
    assert (found["n_first"], found["n_second"], found["n"]) == (2, 2, 0)
    assert found["first"] == pytest.approx(0.715)
    assert pd.isna(found["difference"])
    assert found["outcome"] == "no shared seed"


def test_what_is_in_one_alone(side: Any) -> None:
    table = comparison_table(side(FIRST), side(SECOND, prefix="new/", schedule="alpha=5"))
    levels = table[(table["quantity"] == "level") & (table["role"] == "guided")]
    levels = levels[levels["metric"] == "accuracy"]
    assert dict(zip(levels["schedule"], levels["outcome"], strict=True)) == {
        "alpha=1": "only in the first",
        "alpha=5": "only in the second",
    }
    nothing = ("missing",) * 4
    table = comparison_table(side(nothing), side(nothing))
    assert pd.isna(row_of(table, quantity="level")["outcome"])


def test_directions_must_agree(side: Any) -> None:
    other = side(SECOND)
    other.transfer["higher_is_better"] = ~other.transfer["higher_is_better"]
    with pytest.raises(ValueError, match="the studies differ in which accuracy is better"):
        comparison_table(side(FIRST), other)


def test_conditions_in_words(side: Any) -> None:
    table = comparison_table(side(FIRST), side(FIRST))
    names = [condition(row) for row in table.to_dict("records") if row["quantity"] == "effect"]
    assert names[0] == "toy: fcn <- cnn, trained, linear_cka, evenly_spaced, alpha=1"
    assert "toy: fcn <- cnn, trained, shuffled, linear_cka, evenly_spaced, alpha=1" in names


def test_rivals_are_named(side: Any) -> None:
    rivals = [{"role": "rival", "treatment": name, "guide": None, "state": None, "control": "none",
               "distance": None, "mapping": None, "schedule": None}
              for name in ("label_smoothing", "l2_start")]  # fmt: skip
    first, second = side(FIRST), side(FIRST)
    guided = second.replicates[second.replicates["role"] == "guided"]
    more = [guided.assign(**columns) for columns in rivals]
    table = comparison_table(
        first, second._replace(replicates=pd.concat([second.replicates, *more]))
    )
    rows = records(table[table["metric"] == "accuracy"])
    alone = [row for row in rows if row["outcome"] == "only in the second"]
    names = {condition(row) for row in alone if row["quantity"] == "level"}
    assert names == {"toy: fcn <- label_smoothing (rival)", "toy: fcn <- l2_start (rival)"}


def test_a_page_names_what_one_has_alone_once(side: Any) -> None:
    table = comparison_table(side(FIRST), side(SECOND, prefix="new/", schedule="alpha=5"))
    html = page(table, "a", "b")
    line = "toy: fcn &lt;- cnn, trained, linear_cka, evenly_spaced, alpha=5 (accuracy)"
    assert html.count(line) == 1


class Reader(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_shows_names_as_text_and_loads_nothing(side: Any) -> None:
    evil = "<script>alert(1)</script>"
    table = comparison_table(side(FIRST), side(SECOND, prefix="new/"))
    table["target"] = evil
    found = Reader(page(table, f"a:{evil}", "b:study", (("0123abcd",), ())))
    assert "script" not in found.tags
    assert not {"src", "href"} & {name for name, _ in found.attributes}
    assert f"toy: {evil} <- cnn" in found.text
    assert "trained by" in found.text
    for text in ("+0.053", "differs", "Differences are second minus first"):
        assert text in found.text
