"""How commands end: whose error it was decides what is said, and the exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException, get_error_code

from analysis.errors import DamagedFileError
from analysis.errors import UserError as AnalysisError
from study.cli import app, exits
from study.errors import RunError, SpecError
from tests.helpers.command_line import Archprior
from trainers.errors import UserError
from trainers.registry import Component, Registry
from trainers.store.folder import StorageError
from trainers.store.store import CorruptError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SpecError("seeds: give 1 seed or more"), 2),
        (UserError("task x: size is 0"), 2),
        (AnalysisError("unknown study"), 2),
        (DamagedFileError("/store/plan.parquet is damaged"), 2),
        (RunError("stopped"), 1),
        (StorageError("no space"), 1),
        (CorruptError("id", "/store/result.json is damaged"), 1),
    ],
)
def test_one_line(error: Exception, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert exits.status_of(error) == status
    assert capsys.readouterr().err == f"error: {error}\n"


def test_a_refusal_by_mlflow_means_the_user(capsys: pytest.CaptureFixture[str]) -> None:
    error = MlflowException("no", error_code=get_error_code(401))
    assert exits.status_of(error) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: MLflow: it refuses user and password: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value", "command"),
    [
        ("ARCHPRIOR_OUTAGE_SECONDS", "3m", "studies"),
        ("ARCHPRIOR_OUTAGE_SECONDS", "nan", "work SPEC"),
        ("ARCHPRIOR_GIT_FACTS", "{bad", "run SPEC --local"),
        ("ARCHPRIOR_GIT_FACTS", '["abc"]', "work SPEC"),
        ("ARCHPRIOR_GIT_FACTS", '{"git_commit": 7}', "run SPEC --local"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    archprior: Archprior, spec_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch,
    name: str, value: str, command: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(spec_file().parent)
    monkeypatch.setenv(name, value)
    spec = str(spec_file())
    status, _, err = archprior(*(spec if part == "SPEC" else part for part in command.split()))
    assert status == 2
    assert err.splitlines()[-1].startswith(f"error: {name}: give ")
    assert value in err.splitlines()[-1]


@pytest.mark.parametrize("error", [ValueError("zip() argument 2 is longer"), KeyError("x")])
def test_a_programs_error_keeps_its_traceback(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.app.command("break")
    def broken() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["archprior", "break"])
    try:
        with pytest.raises(SystemExit) as ended:
            app.main()
    finally:
        app.app.registered_commands.pop()
    said = capsys.readouterr().err
    assert ended.value.code == 3
    assert "Traceback" in said
    assert "in broken" in said
    assert "please report it" in said


def test_wrong_usage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["archprior", "run"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 2
    assert "Missing argument" in capsys.readouterr().err


def test_a_factory_that_refuses_an_option_means_the_user() -> None:
    registry: Registry = Registry("thing", "trainers.errors")

    @registry.register("odd")
    def odd(*, size: int = 1) -> None:
        if size < 1:
            raise ValueError(f"odd: size is {size}; allowed: 1 or more")
        raise TypeError("a slip")

    with pytest.raises(UserError, match="odd: size is 0; allowed: 1 or more"):
        registry.make(Component("odd", (("size", 0),)))
    with pytest.raises(TypeError, match="a slip"):
        registry.make(Component("odd", (("size", 1),)))
