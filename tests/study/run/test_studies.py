"""`archprior studies`: every study of a store, from listings and two tables each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from study.cli import studies
from study.errors import SpecError
from study.plan import table
from study.plan.progress import Progress
from study.run.studies import StudyEntry, entries
from study.study import Study
from tests.study.conftest import Trained
from trainers.store.folder import Folder
from trainers.store.lease import Lease
from trainers.store.store import Store


def entry(store: Path, name: str = "small") -> StudyEntry:
    (found,) = [each for each in entries(Folder(store)) if each.name == name]
    return found


def test_an_entry_says_what_is_known_of_a_study(analyzed: Path) -> None:
    found = entry(analyzed)
    assert found.question == "Does a tiny ResNet help?"
    # The guide of seed 1 failed, and its guided and shuffled runs are blocked.
    assert found.counts == {"finished": 9, "failed": 1, "blocked": 2}
    assert found.verdicts == {"open": 2}
    files = [path for path in analyzed.rglob("*") if path.is_file()]
    assert found.num_bytes == sum(path.stat().st_size for path in files)
    assert found.last_run is not None
    assert (found.running, found.problem) == (False, None)


def test_states_are_those_of_status(analyzed: Path) -> None:
    from study.run.status import load
    from trainers.store.store import Store

    status = load("small", Store(analyzed)).progress.counts()
    assert entry(analyzed).counts == {state.value: count for state, count in status.items()}


def test_a_control_without_a_guide_is_not_blocked_by_one(trained: Trained, tmp_path: Path) -> None:
    """Its row names the guide that it stands for, and it can be trained without it."""
    study = Study(**trained.spec | {"controls": ["labels"]})
    plan, store = study.plan(), Store(tmp_path)
    for replicate in plan.replicates:
        if replicate.role == "guide":
            store.replicate(replicate.id).fail(ValueError("no"))
    folder = tmp_path / "studies" / "small"
    folder.mkdir(parents=True)
    (folder / "plan.parquet").write_bytes(table.encode(plan, {"git_commit": "none"}))
    counts = Progress(plan, store).counts()
    assert counts["blocked"] == 2
    assert entry(tmp_path).counts == {state.value: count for state, count in counts.items()}


def test_studies_that_cannot_be_read_are_listed(analyzed_copy: Path) -> None:
    folder = analyzed_copy / "studies"
    (folder / "small" / "transfer.parquet").write_bytes(b"PAR1 no more")
    (folder / "empty").mkdir()
    (folder / "..odd name").mkdir()
    found = {each.name: each for each in entries(Folder(analyzed_copy))}
    assert found.keys() == {"small", "empty"}
    assert "a file of it is damaged" in (found["small"].problem or "")
    assert "archprior analyze small" in (found["small"].problem or "")
    assert found["small"].counts
    assert found["empty"].problem == "it has neither spec.yaml nor plan.parquet"


def test_a_study_at_work_is_running(analyzed_copy: Path) -> None:
    with Lease(Folder(analyzed_copy / "studies" / "small")):
        assert entry(analyzed_copy).running
    assert not entry(analyzed_copy).running


def test_without_tables_the_plan_says_when_it_was_run(analyzed_copy: Path) -> None:
    folder = analyzed_copy / "studies" / "small"
    (folder / "transfer.parquet").unlink()
    found = entry(analyzed_copy)
    assert found.verdicts == {}
    assert found.last_run == pytest.approx((folder / "plan.parquet").stat().st_mtime, abs=1)


def test_an_empty_store_has_no_studies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    studies.show(str(tmp_path), as_json=False)
    assert capsys.readouterr().out.startswith("no studies in ")


def test_json_has_all_of_it(analyzed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    studies.show(str(analyzed), as_json=True)
    (found,) = json.loads(capsys.readouterr().out)
    assert found["study"] == "small"
    assert found["counts"] == {"finished": 9, "failed": 1, "blocked": 2}
    assert found["verdicts"] == {"open": 2}


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_list_fits_the_terminal(
    analyzed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    columns: int,
) -> None:
    for name, value in (("COLUMNS", columns), ("TTY_COMPATIBLE", 1), ("NO_COLOR", 1)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("TERM", "xterm")
    studies.show(str(analyzed), as_json=False)
    out = capsys.readouterr().out
    words = " ".join(out.split())
    for text in ("9 done, 1 failed, 2 blocked", "2 not established", "tiny ResNet"):
        assert text in words
    *_, last = out.splitlines()
    assert last.startswith("1 study in ")
    assert "\u2026" not in out


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (44_000_000, "44 MB"), (2e15, "2000 TB")],
)
def test_sizes(num_bytes: float, text: str) -> None:
    assert studies.size(int(num_bytes)) == text


def test_it_imports_nothing_heavy(analyzed: Path) -> None:
    code = (
        "import sys\nfrom study.cli import studies\n"
        f"studies.show({str(analyzed)!r}, as_json=True)\n"
        "heavy = ('torch', 'ray', 'mlflow', 'pandas', 'scipy')\n"
        "print('imported:', [name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported: []"


@pytest.mark.processes
def test_a_spec_keeps_its_question_in_the_store(tmp_path: Path, spec_file: object) -> None:
    path = spec_file()  # type: ignore[operator]
    path.write_text("# archprior run it\n#\n# Why?\n" + path.read_text())
    study = Study.load(path)
    study.run(store=tmp_path / "store", local=True, debug=True)
    text = (tmp_path / "store" / "studies" / "small" / "spec.yaml").read_text()
    assert text.startswith("# archprior run it\n#\n# Why?\nname: small\n")


def test_a_damaged_plan_is_made_anew_by_a_run(analyzed_copy: Path) -> None:
    (analyzed_copy / "studies" / "small" / "plan.parquet").write_bytes(b"PAR1 no more")
    assert (entry(analyzed_copy).problem or "").endswith(": archprior run SPEC")


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(SpecError, match="--store"):
        studies.show(str(tmp_path / "store"), as_json=False)


@pytest.mark.parametrize("created", [5, [], "yesterday"])
def test_a_table_with_odd_facts_does_not_hide_the_other_studies(
    analyzed_copy: Path, created: object
) -> None:
    path = analyzed_copy / "studies" / "small" / "transfer.parquet"
    table = pq.read_table(path)
    facts = json.dumps({"created": created})
    pq.write_table(table.replace_schema_metadata({"archprior": facts}), path)
    assert "a file of it is damaged" in (entry(analyzed_copy).problem or "")
