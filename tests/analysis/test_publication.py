"""Tables for papers: numbers with intervals, and no text that is markup."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from analysis import publication
from analysis.errors import UserError
from analysis.publication import presentable
from analysis.schema import SCHEMAS, frame_of, schema
from analysis.transfer import transfer_table


@pytest.fixture
def transfer(full, tasks):
    return transfer_table(full.replicates(), full.histories(), tasks)


def test_an_estimate_has_its_interval_beside_it(transfer):
    shown, common = presentable(transfer, "transfer")
    assert list(shown.columns) == [
        "state", "control", "metric", "n", "n failed", "baseline", "guided",
        "difference [95% interval]", "specific [95% interval]", "specific control", "verdict",
    ]  # fmt: skip
    row = transfer.iloc[0]
    numbers = (row["difference"], row["difference_low"], row["difference_high"])
    assert shown.iloc[0, 7] == "{:.3f} [{:.3f}, {:.3f}]".format(*numbers)
    assert common["target"] == "fcn"
    assert "stop_step" not in common
    assert shown.iloc[4]["state"] == "–" or "–" in set(shown["state"])


def test_named_columns_are_shown_as_named(transfer):
    shown, common = presentable(transfer, "transfer", ["target", "difference_low", "n"])
    assert list(shown.columns) == ["target", "difference low", "n"]
    assert common == {}
    with pytest.raises(UserError, match="'differense'; did you mean 'difference'"):
        presentable(transfer, "transfer", ["differense"])


def test_values_have_limits_too():
    row = {"study": "a", "place": "expect[0]", "rule": "x > 0", "value": -0.5, "low": -0.75}
    frame = frame_of([row | {"high": 1234.5, "n": 3, "holds": True}], schema("expectations"))
    shown, _ = presentable(frame, "expectations")
    assert shown.loc[0, "value [95% interval]"] == "−0.500 [−0.750, 1234]"
    assert shown.loc[0, "holds"] == "yes"
    confirm = frame_of(
        [{"study": "a", "confirmation": "b", "attempt": 1, "place": "x", "statement": "s",
          "exploratory_value": 0.1, "exploratory_low": 0.05, "exploratory_high": 0.2,
          "exploratory_n": 3, "confirmed_n": 0, "verdict": "not confirmed"}],
        schema("confirm"),
    )  # fmt: skip
    shown, _ = presentable(confirm, "confirm")
    assert shown.loc[0, "exploratory value [95% interval]"] == "0.100 [0.050, 0.200]"
    assert shown.loc[0, "confirmed value [95% interval]"] == "–"


@pytest.mark.parametrize("table", SCHEMAS)
def test_every_table_is_shown_empty_or_not(table):
    empty = frame_of([], schema(table, ["accuracy"]))
    shown, common = presentable(empty, table)
    assert publication.latex(shown, common).count("toprule") == 1
    assert publication.markdown(shown, common).startswith("|")


def test_small_and_large_numbers(transfer):
    frame = transfer.assign(p_value=[1.234e-7] * len(transfer))
    shown, _ = presentable(frame, "transfer", ["p_value"])
    assert shown.loc[0, "p value"] == "1.23e−07"


AWKWARD = "<b>a_b_</b> | $x^2$ & 50% \\cmd {c} [d](e) *f* `g` ~h~ #1"


def test_latex_is_escaped_and_has_rules(transfer):
    shown, common = presentable(transfer.assign(guide=[AWKWARD, *["cnn"] * 9]), "transfer")
    text = publication.latex(shown, common | {"study": "a_b\nc"})
    assert re.search(r"\\toprule\n.*\\midrule\n.*\\bottomrule\n", text, re.S)
    assert r"a\_b\_" in text
    assert r"\$x\textasciicircum 2\$ \& 50\% \textbackslash cmd \{c\}" in text
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert not re.search(r"(?<!\\)[$#_]", "\n".join(body))
    assert text.startswith("% ")


def test_long_tables_go_over_pages(transfer):
    shown, common = presentable(pd.concat([transfer] * 5), "transfer")
    assert r"\begin{longtable}" in publication.latex(shown, common)
    shown, common = presentable(transfer, "transfer")
    assert r"\begin{tabular}" in publication.latex(shown, common)


def test_markdown_is_read_back_as_it_was_written(transfer):
    """By the parser of CommonMark and GitHub's tables that MLflow's and others' pages are like."""
    from markdown_it import MarkdownIt

    frame = transfer.assign(guide=[AWKWARD, "translated_digits", *["cnn"] * 8])
    text = publication.markdown(*presentable(frame, "transfer"))
    tokens = MarkdownIt().enable(["table", "strikethrough"]).parse(text)
    cells = [token.children or [] for token in tokens if token.type == "inline"]
    plain = ["".join(part.content for part in parts) for parts in cells]
    assert AWKWARD in plain
    assert "translated_digits" in plain
    assert {part.type for parts in cells for part in parts} <= {"text", "text_special"}
    assert "| translated_digits |" in re.sub(" +", " ", text)
