"""What the commands say to somebody who uses them for the first time."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.errors import RunError
from study.plan import table
from study.run.descriptions import how_far
from study.spec.files import PRESETS, load
from study.study import Study
from tests.helpers.command_line import Archprior
from trainers.store.store import Store

#: Commands that read a store.
READING = [
    "studies", "status small", "analyze small", "check small", "report small", "gc",
    "plot small matrix", "export table small transfer", "export study small", "compare a b",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", READING)
def test_a_mistyped_store_is_not_empty(archprior: Archprior, folder: Path, command: str) -> None:
    status, out, err = archprior(*command.split(), "--store", "archprio-store")
    assert (status, out) == (2, "")
    assert err == "error: --store: archprio-store does not exist; archprior run makes a store\n"
    assert not list(folder.iterdir())


@pytest.mark.usefixtures("folder")
def test_before_the_first_study(archprior: Archprior) -> None:
    status, out, _ = archprior("studies")
    assert status == 0
    assert out.startswith("no studies yet: archprior-store is not in this folder; a first study ")
    assert "archprior run quickstart" in out
    assert archprior("studies", "--json")[:2] == (0, "[]\n")
    status, _, err = archprior("status", "small")
    assert status == 2
    assert err.startswith("error: there is no store yet: archprior-store is not in this folder; ")


@pytest.mark.parametrize("command", ["studies", "gc", "gc --json", "status smal", "doctor"])
def test_no_command_prints_a_secret_of_a_store(archprior: Archprior, command: str) -> None:
    _, out, err = archprior(*command.split(), "--store", "memory://store?sig=sekret")
    assert "store?sig=***" in out + err
    assert "sekret" not in out + err


@pytest.mark.parametrize("command", ["status smal", "analyze smal", "export study smal"])
def test_an_unknown_study_is_told_alike(
    archprior: Archprior, analyzed: Path, folder: Path, command: str
) -> None:
    status, _, err = archprior(*command.split(), "--store", analyzed)
    assert status == 2
    known = f"error: unknown study in {analyzed}: 'smal'; did you mean 'small'? (known: small)\n"
    assert err == known
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("run SPEC --local --address auto", "--local and --address exclude each other: without R"),
        ("retry SPEC --local --address auto", "--local and --address exclude each other"),
        ("confirm small --local --address auto", "--local and --address exclude each other"),
        ("run SPEC --local --wait 0", "--local and --wait exclude each other"),
        ("run SPEC --debug --store s", "--debug and --store exclude each other: a throw-away"),
        ("run SPEC --debug --tracking-uri http://x", "--debug and --tracking-uri exclude each"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    archprior: Archprior, spec_file: Callable[..., Path], folder: Path, options: str, message: str
) -> None:
    before = {*folder.iterdir()}
    spec = str(spec_file())
    status, _, err = archprior(*(spec if part == "SPEC" else part for part in options.split()))
    assert status == 2
    assert err.startswith(f"error: {message}")
    assert {*folder.iterdir()} - before <= {Path(spec)}


def test_an_export_replaces_no_file(archprior: Archprior, analyzed: Path, folder: Path) -> None:
    (folder / "small.zip").write_bytes(b"kept")
    status, _, err = archprior("export", "study", "small", "--store", analyzed)
    assert status == 2
    assert err == "error: --to: small.zip exists; give another name, or remove it first\n"
    assert (folder / "small.zip").read_bytes() == b"kept"


def test_the_version_is_told_fast() -> None:
    code = (
        "import sys\nfrom study.cli.app import main\nsys.argv = ['archprior', '--version']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print([name for name in ('torch', 'ray', 'mlflow', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, imported = done.stdout.splitlines()
    assert said.startswith("archprior 0.")
    assert [part.split()[0] for part in said.partition("(")[2].split(", ")] == [
        "torch", "ray", "mlflow",
    ]  # fmt: skip
    assert imported == "[]"


def test_a_preset_is_printed_to_be_copied(archprior: Archprior, folder: Path) -> None:
    status, out, _ = archprior("list", "presets", "quickstart")
    assert status == 0
    assert out == (PRESETS / "quickstart.yaml").read_text(encoding="utf-8")
    (folder / "mine.yaml").write_text(out)
    assert load("mine.yaml")[0] == load("quickstart")[0]
    status, _, err = archprior("list", "presets", "quikstart")
    assert status == 2
    assert "did you mean 'quickstart'?" in err
    assert len(err) < 150


def test_one_entry_is_listed_by_its_name(archprior: Archprior) -> None:
    status, out, _ = archprior("list", "distances", "linear_cka")
    assert status == 0
    assert out.startswith("linear_cka ")
    assert "rbf_cka" not in out
    status, _, err = archprior("list", "distances", "cka")
    assert status == 2
    assert "did you mean 'linear_cka' or 'rbf_cka'?" in err


def test_an_unknown_kind_is_told_in_words(archprior: Archprior) -> None:
    status, _, err = archprior("list", "architecture")
    assert status == 2
    assert err.startswith("error: unknown kind 'architecture'; did you mean 'architectures'? ")


@pytest.mark.parametrize(
    "command", ["run", "list", "confirm", "plot", "export study", "import", "submit", "ui", "gc"]
)
def test_help_names_values_alike(archprior: Archprior, command: str) -> None:
    status, out, _ = archprior(*command.split(), "--help")
    assert status == 0
    options = [line for line in out.splitlines() if "--" in line and "--help" not in line]
    assert [line for line in options if re.search("<[a-z]", line)] == []
    assert "for ever" not in out
    assert "{kind}" not in out


@pytest.fixture
def temporary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made: it is empty."""
    place = folder / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.mark.processes
def test_a_store_that_is_thrown_away_is_named_nowhere(
    archprior: Archprior, spec_file: Callable[..., Path], temporary: Path
) -> None:
    status, out, _ = archprior("run", spec_file(), "--debug", "--local")
    assert status == 0
    assert "training time of all replicates" in out
    assert str(temporary) not in out
    assert "archprior ui" not in out
    assert [path for path in temporary.iterdir() if "debug" in path.name] == []


@pytest.mark.parametrize("options", [[], ["--profile"]])
def test_a_store_is_thrown_away_after_an_error_whose_traceback_is_shown(
    archprior: Archprior,
    spec_file: Callable[..., Path],
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
) -> None:
    def stopped(_: Study, **how: Any) -> None:
        for name in ("0123", "4567"):
            Store(how["store"]).replicate(name).fail(RuntimeError("out of luck"))
        raise RunError("most replicates fail alike")

    monkeypatch.setattr(Study, "run", stopped)
    status, out, err = archprior("run", spec_file(), "--debug", *options)
    assert status == 1
    assert err.count("RuntimeError: out of luck") == 1
    assert err.endswith("error: most replicates fail alike\n")
    left = list(temporary.iterdir())
    assert len(left) == len(options)
    assert [f"store, kept for its trace: {path}\n" for path in left] == ([out] if out else [])


class _Store:
    def __init__(self, begun: set[str]) -> None:
        self._begun = begun

    def surveyed(self, identifiers: set[str]) -> dict[str, None]:
        return dict.fromkeys(self._begun & identifiers)


@pytest.mark.parametrize(
    ("finished", "begun", "left"),
    [
        (0, set(), "starts them"),
        (0, {"a"}, "goes on from the last checkpoints"),
        (1, set(), "goes on from the last checkpoints"),
        (2, set(), "makes the comparisons and tables"),
    ],
)
def test_what_the_next_run_does(finished: int, begun: set[str], left: str) -> None:
    class Progress:
        plan = ("a", "b")
        store = _Store(begun)
        todo = [type("R", (), {"id": name}) for name in ("a", "b")][: 2 - finished]

        def counts(self) -> dict[str, int]:
            return {"finished": finished}

    progress: Any = Progress()
    message = f"interrupted: {finished} of 2 replicates are finished"
    if not (finished or begun):
        message = "interrupted: nothing is saved yet of 2 replicates"
    assert how_far(progress) == (message, left)


def test_a_finished_study_is_run_by_nobody_and_has_no_rate(
    archprior: Archprior, complete: Path
) -> None:
    status, out, _ = archprior("status", "small", "--store", complete)
    assert status == 0
    assert out == "study small: 6 replicates: 6 finished\n"


@pytest.fixture
def complete(store_copy: Path, trained: Any) -> Path:
    """A store with the study `small` of the seed whose guide has not failed."""
    plan = Study(**trained.spec | {"seeds": 1}).plan()
    written = store_copy / "studies" / "small"
    written.mkdir(parents=True)
    (written / "spec.yaml").write_text("name: small\n")
    (written / "plan.parquet").write_bytes(table.encode(plan, {}))
    return store_copy


@pytest.mark.parametrize("kind", ["presets", "distances", "controls"])
def test_lists_wrap_at_words_on_a_terminal_and_nowhere_else(
    archprior: Archprior, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    whole = archprior("list", kind)[1]
    for name, value in (("COLUMNS", 80), ("TTY_COMPATIBLE", 1), ("TERM", "xterm-256color")):
        monkeypatch.setenv(name, str(value))
    wrapped = archprior("list", kind)[1]
    assert max(map(len, whole.splitlines())) > 80
    assert max(map(len, wrapped.splitlines())) <= 80
    assert wrapped.split() == whole.split()


def test_presets_have_a_column_and_whole_sentences(archprior: Archprior) -> None:
    lines = archprior("list", "presets")[1].splitlines()
    start = lines[0].index("The paper's headline")
    assert [line for line in lines if line[start - 1] != " " or line[start] == " "] == []
    assert [line for line in lines if line[-1] not in ".?"] == []
