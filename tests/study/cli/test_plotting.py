"""The commands `plot` and `export table`, on stores whole and half done."""

from __future__ import annotations

import errno
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import analysis
from analysis import plots
from analysis.errors import UserError
from study import Study
from study.cli.plotting import label
from tests.helpers.command_line import Archprior
from tests.helpers.drawings import ink

pytestmark = pytest.mark.processes

SPEC: dict[str, Any] = {
    "name": "tiny",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 1, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "states": ["untrained"],
    "controls": ["shuffled"],
    "axes": {"schedule.alpha": [0.5, 1.0]},
    "seeds": 3,
    "train": {"steps": 2, "batch_size": 20},
}
#: By hand: guide, baseline, guided and shuffled at two alphas.
NUM_REPLICATES = 3 * (2 + 4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("whole") / "store"
    Study(**SPEC).run(store=store, local=True)
    return store


@pytest.fixture
def half(whole: Path, tmp_path: Path) -> Path:
    """A copy of the store, as a run leaves it that was killed: results but no tables."""
    store = tmp_path / "store"
    shutil.copytree(whole, store)
    for path in (store / "studies" / "tiny").glob("*.parquet"):
        if path.stem in {"replicates", "transfer", "pairs", "history", "priors", "consistency"}:
            path.unlink()
    replicates = pd.read_parquet(whole / "studies" / "tiny" / "replicates.parquet")
    lost = replicates.query("role == 'guided' and alpha == 1.0")["replicate_id"]
    for identifier in lost:
        shutil.rmtree(store / "replicates" / identifier)
    return store


@pytest.mark.parametrize("kind", plots.KINDS)
def test_every_figure_of_a_study(
    archprior: Archprior, whole: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"{kind}.png"
    done = archprior("plot", "tiny", kind, "--to", path, "--store", whole)
    assert done == (0, f"wrote {path}\n", "")
    assert ink(path) > 0.01


@pytest.mark.parametrize("named", [["--target", "fcn"], ["--guide", "resnet2d(bl"]])
def test_a_bare_name_means_the_one_label_of_it(
    archprior: Archprior, whole: Path, tmp_path: Path, named: list[str]
) -> None:
    path = tmp_path / "a.svg"
    done = archprior("plot", "tiny", "forest", *named, "--to", path, "--store", whole)
    assert done == (0, f"wrote {path}\n", "")


def test_a_name_of_several_labels_lists_those_alone() -> None:
    known = ["fcn(depth=2)", "fcn(depth=20)", "fcn_wide", "vit"]
    with pytest.raises(UserError, match=r"^--target: fcn is of 2: .* \(fcn\(depth=2\), fcn\(depth"):
        label("target", "fcn", known)
    assert label("target", "fcn(depth=2)", known) == "fcn(depth=2)"
    assert label("target", "fcn_", known) == "fcn_wide"
    assert label("target", "v", known) == "vit"


@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_figures_for_papers(
    archprior: Archprior, whole: Path, tmp_path: Path, suffix: str, start: bytes
) -> None:
    path = tmp_path / f"a{suffix}"
    assert archprior("plot", "tiny", "matrix", "--to", path, "--store", whole)[0] == 0
    assert path.read_bytes().startswith(start)


def test_without_a_file_it_is_named_after_study_and_kind(
    archprior: Archprior, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = archprior("plot", "tiny", "forest", "--store", whole)
    assert (status, out) == (0, "wrote tiny-forest.svg\n")
    assert (tmp_path / "tiny-forest.svg").exists()


def test_a_half_done_study_is_drawn_and_what_it_lacks_is_said(
    archprior: Archprior, half: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    status, _, err = archprior("plot", "tiny", "forest", "--to", path, "--store", half)
    assert status == 0
    assert err == (
        f"3 of {NUM_REPLICATES} replicates have no result: 3 to train "
        f"(archprior status tiny --store {half})\n"
    )
    assert ink(path) > 0.01


def test_tables_that_are_older_than_results_are_made_anew(
    archprior: Archprior, half: Path, whole: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.md"
    assert archprior("export", "table", "tiny", "pairs", "--to", path, "--store", half)[0] == 0
    before = path.read_text()
    shutil.copytree(whole / "replicates", half / "replicates", dirs_exist_ok=True)
    done = archprior("export", "table", "tiny", "pairs", "--to", path, "--store", half)
    assert done[2] == ""
    assert "missing" in before
    assert "missing" not in path.read_text()


def num_missing(store: Path) -> int:
    replicates = pd.read_parquet(store / "studies" / "tiny" / "replicates.parquet")
    return int((replicates["status"] == "missing").sum())


@pytest.fixture
def stale(half: Path, whole: Path) -> Path:
    """A store whose tables lack three replicates that have ended since."""
    analysis.analyze("tiny", store=half)
    shutil.copytree(whole / "replicates", half / "replicates", dirs_exist_ok=True)
    assert num_missing(half) == 3
    return half


@pytest.mark.parametrize(
    "command",
    [
        ["plot", "tiny", "matrix"],
        ["export", "table", "tiny", "pairs"],
        ["export", "study", "tiny"],
        ["compare", "tiny", "tiny"],
        ["report", "tiny"],
        ["check", "tiny", "--spec", "RULES"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_commands_bring_tables_up_to_date(
    archprior: Archprior, stale: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    command: list[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(SPEC | {"expect": ["baseline >= 0"]}))
    given = [str(rules) if part == "RULES" else part for part in command]
    status, _, err = archprior(*given, "--store", stale)
    assert (status, err) == (0, "")
    assert num_missing(stale) == 0
    if command[1] == "study":
        with zipfile.ZipFile(tmp_path / "tiny.zip") as bundle:
            exported = bundle.read("studies/tiny/replicates.parquet")
        assert exported == (stale / "studies" / "tiny" / "replicates.parquet").read_bytes()


def test_a_store_that_cannot_be_written_is_shown_as_it_is_now(
    archprior: Archprior, stale: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("analysis.parquet_files.write", refused)
    path = tmp_path / "a.md"
    status, _, err = archprior("export", "table", "tiny", "pairs", "--to", path, "--store", stale)
    assert status == 0
    assert err.startswith(f"warning: no tables written: {stale} is read-only")
    assert "missing" not in path.read_text()
    assert num_missing(stale) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plot", "tiny", "matix"], "unknown figure: 'matix'; did you mean 'matrix'? (known: al"),
        (["plot", "tiny", "matrix", "--to", "a.jpg"], "a.jpg: a figure is written to a file that "),
        (["plot", "tyny", "matrix"], "'tyny'; did you mean 'tiny'? (known: tiny)"),
        (["plot", "tiny", "matrix", "--task", "x"], "unknown task: 'x' (known: translated_digits"),
        (["plot", "tiny", "matrix", "--value", "gain"], "unknown value: 'gain'"),
        (["plot", "tiny", "matrix", "--value", "gain"], "usual are difference, specific, knowl"),
        (["plot", "tiny", "curves", "--metric", "gain"], "unknown metric: 'gain'"),
        (["plot", "tiny", "matrix", "--target", "cnn"], "unknown target: 'cnn' (known: fcn(depth"),
        (["plot", "tiny", "matrix", "--to", "no/a.svg"], "--to: no/a.svg cannot be written: No su"),
        (["export", "table", "tiny", "tranfer"], "unknown table: 'tranfer'; did you mean 'transf"),
        (["export", "table", "tiny", "confirm"], "unknown table of study 'tiny': 'confirm' (know"),
        (["export", "table", "tiny", "transfer", "--to", "a.txt"], "ends in .tex, .md or .csv"),
        (["export", "table", "tiny", "transfer", "--columns", "m"], "unknown column: 'm'"),
    ],
)
def test_mistakes_are_one_line(
    archprior: Archprior, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    status, out, err = archprior(*arguments, "--store", whole)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    # Of many names it lists the nearest.
    assert len(err) < 700
    assert [*tmp_path.iterdir()] == []


def test_a_table_is_printed_as_markdown(archprior: Archprior, whole: Path) -> None:
    status, out, err = archprior("export", "table", "tiny", "transfer", "--store", whole)
    assert (status, err) == (0, "")
    assert out.startswith("study: tiny; task: translated")
    transfer = analysis.load("tiny", "transfer", store=whole)
    assert len(out.strip().splitlines()) == 2 + 2 + len(transfer)
    assert "| difference [95% interval]" in out


def test_tables_for_papers_and_programs(archprior: Archprior, whole: Path, tmp_path: Path) -> None:
    for suffix in (".tex", ".csv"):
        path = tmp_path / f"a{suffix}"
        status, out, _ = archprior(
            "export", "table", "tiny", "priors", "--to", path, "--store", whole
        )
        assert (status, out) == (0, f"wrote {path}: 4 rows\n")
    assert r"\bottomrule" in (tmp_path / "a.tex").read_text()
    read = pd.read_csv(tmp_path / "a.csv")
    priors = analysis.load("tiny", "priors", store=whole)
    assert list(read.columns) == list(priors.columns)
    assert read["total_low"].isna().all()
    pd.testing.assert_series_equal(
        read["architecture_prior"], priors["architecture_prior"], check_exact=True
    )


@pytest.mark.parametrize(
    "command", [["export", "table", "tiny", "pairs", "--to", "PAGE"], ["check", "tiny"]],
    ids=lambda command: command[0],
)  # fmt: skip
def test_looking_at_a_store_that_was_copied_in_part_overwrites_nothing(
    archprior: Archprior, whole: Path, tmp_path: Path, command: list[str]
) -> None:
    store, page, rules = tmp_path / "store", tmp_path / "a.md", tmp_path / "rules.yaml"
    shutil.copytree(whole, store)
    for path in sorted((store / "replicates").iterdir())[:2]:
        shutil.rmtree(path)
    rules.write_text(yaml.safe_dump(SPEC | {"expect": ["baseline >= 0"]}))
    given = [str(page) if part == "PAGE" else part for part in command]
    given += ["--spec", str(rules)] if command[0] == "check" else []
    files = {path: path.read_bytes() for path in (store / "studies" / "tiny").glob("*.parquet")}
    err = archprior(*given, "--store", store)[2]
    assert err.startswith("warning: no tables written: 2 of ")
    assert "replicates are missing that the stored tables have as finished" in err
    assert f"; archprior analyze tiny --store {store} writes them\n" in err
    found = (store / "studies" / "tiny").glob("*.parquet")
    assert {path: path.read_bytes() for path in found} == files
    if page.exists():
        assert "missing" in page.read_text()
    analysis.analyze("tiny", store=store)
    assert num_missing(store) == 2


def test_tables_whose_replicates_are_elsewhere_stay(
    archprior: Archprior, whole: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(whole / "studies", store / "studies")
    done = archprior(
        "export", "table", "tiny", "pairs", "--to", tmp_path / "a.md", "--store", store
    )
    assert done[0] == 0
    assert num_missing(store) == 0
