"""`archprior compare`: sides by name, store and commit; text, JSON and page."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.errors import UserError
from study.cli import comparing
from study.errors import SpecError
from study.run.comparing import side


@pytest.fixture
def other(analyzed_copy: Path) -> Path:
    """A copy of the store in which every guided replicate is another, and a little better."""
    path = analyzed_copy / "studies" / "small" / "replicates.parquet"
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    frame = table.to_pandas()
    guided = frame["role"] == "guided"
    frame.loc[guided, "replicate_id"] = "new" + frame["replicate_id"]
    frame.loc[guided, "test_accuracy"] += 0.25
    frame.loc[frame["role"] == "control", "schedule"] = "alpha=2"
    content = type(table).from_pandas(frame, schema=table.schema, preserve_index=False)
    pq.write_table(content, path)
    return analyzed_copy


def compared(capsys: pytest.CaptureFixture[str], *arguments: Any, **more: Any) -> str:
    comparing.compare(*arguments, **{"store_b": None, "page_to": None, "as_json": False, **more})
    return capsys.readouterr().out


def test_a_study_with_itself(analyzed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = compared(capsys, "small", "small", str(analyzed))
    assert "6 conditions on their primary metric: 6 same replicates" in out
    assert f"first: {analyzed}:small (trained by trained)" in out


def test_stores_are_named_before_the_study_or_apart(
    analyzed: Path, other: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = compared(capsys, "small", f"{other}:small", str(analyzed))
    assert out == compared(capsys, "small", "small", str(analyzed), store_b=str(other))
    lines = out.splitlines()
    labels = "fcn(depth=2,width=8) <- resnet2d(blocks=1,width=2), untrained, linear_cka"
    at = lines.index(f"translated_digits(places=1): {labels}, evenly_spaced, alpha=1")
    assert lines[at + 1].startswith("   accuracy ")
    assert "difference +0.250" in lines[at + 1]
    assert lines[at + 1].endswith("2 seeds: not established")
    assert any("only in the second: " in line and "alpha=2" in line for line in lines)
    page = tmp_path / "page.html"
    compared(capsys, "small", "small", str(analyzed), store_b=str(other), page_to=str(page))
    assert "Two studies compared" in page.read_text()


def test_json_has_every_row(
    analyzed: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = compared(capsys, "small", "small", str(analyzed), store_b=str(other), as_json=True)
    content = json.loads(out)
    rows = pd.DataFrame(content["rows"])
    assert content["first"] == {"study": f"{analyzed}:small", "commits": ["trained"]}
    assert set(rows["quantity"]) == {"level", "effect"}
    assert set(rows["metric"]) == {"accuracy", "loss"}


def test_other_data_are_noted(
    analyzed: Path, analyzed_copy: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ("small", "small", str(analyzed))
    page = tmp_path / "page.html"
    assert "note:" not in compared(capsys, *arguments, store_b=str(analyzed_copy))
    results = sorted(analyzed_copy.glob("replicates/*/result.json"))
    before = json.loads(results[0].read_text())["data_fingerprint"]
    for path in results:
        path.write_text(path.read_text().replace(before, "0123456789abcdef"))
    note = (
        f"translated_digits(places=1): the data differ ({before} in the first, 0123456789abcdef "
        "in the second): what differs between them may be the data's"
    )
    assert f"note: {note}\n" in compared(
        capsys, *arguments, store_b=str(analyzed_copy), page_to=str(page)
    )
    assert html.unescape(page.read_text()).count(f"Note: {note}") == 1
    as_json = compared(capsys, *arguments, store_b=str(analyzed_copy), as_json=True)
    assert json.loads(as_json)["notes"] == [note]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("smal", "did you mean 'small'"),
        ("No Name", "give STUDY, STORE:STUDY or STUDY@COMMIT"),
        ("small@abcd", r"no replicate of it was trained by abcd \(by: trained\)"),
        ("small@trained", "give STUDY"),
    ],
)
def test_sides_that_are_not_there(analyzed: Path, text: str, message: str) -> None:
    with pytest.raises((SpecError, UserError), match=message):
        side(text, str(analyzed))


def test_a_commit_takes_what_it_trained(analyzed_copy: Path) -> None:
    for number, path in enumerate(sorted(analyzed_copy.glob("replicates/*/provenance.json"))):
        path.write_text(json.dumps({"git_commit": "abcd1234" if number % 2 else "ef56"}))
    both = side("small", str(analyzed_copy))
    old = side("small@abcd", str(analyzed_copy))
    assert both.commits == ("abcd1234", "ef56")
    assert old.commits == ("abcd1234",)
    finished = (old.tables.replicates["status"] == "finished").sum()
    assert 0 < finished < (both.tables.replicates["status"] == "finished").sum()


def test_a_part_of_the_replicates_has_no_verdict(
    analyzed_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, path in enumerate(sorted(analyzed_copy.glob("replicates/*/provenance.json"))):
        path.write_text(json.dumps({"git_commit": "abcd1234" if number % 2 else "ef56"}))
    out = compared(capsys, "small", "small@abcd", str(analyzed_copy), as_json=True)
    rows = pd.DataFrame(json.loads(out)["rows"])
    assert rows["verdict_first"].notna().any()
    assert rows["verdict_second"].isna().all()
    assert "verdict" not in compared(capsys, "small", "small@abcd", str(analyzed_copy))


def test_directions_that_differ_are_a_mistake(analyzed: Path, analyzed_copy: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = analyzed_copy / "studies" / "small" / "transfer.parquet"
    table = pq.read_table(path)
    at = table.column_names.index("higher_is_better")
    turned = pa.array([not each for each in table.column(at).to_pylist()])
    pq.write_table(table.set_column(at, table.schema.field(at), turned), path)
    with pytest.raises(SpecError, match=r"cannot be compared: .* differ in which"):
        comparing.compare(
            "small", "small", str(analyzed), str(analyzed_copy), page_to=None, as_json=False
        )


def test_a_page_that_cannot_be_written(analyzed: Path, capsys: Any, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"--page: .* cannot be written"):
        compared(capsys, "small", "small", str(analyzed), page_to=str(tmp_path / "no" / "page"))
