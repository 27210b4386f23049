"""The log of a run as lines of JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from study import Study
from study.errors import SpecError
from study.run.event_log import EventLog
from tests.helpers.command_line import Archprior
from trainers.messages import Aborted, Measured

SPEC: dict[str, Any] = {
    "name": "logged",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 1, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "states": ["untrained"],
    "controls": [],
    "seeds": 1,
    "train": {"steps": 4, "batch_size": 20, "report_every": 2},
}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.processes
def test_a_run_logs_what_happens_to_each_replicate(archprior: Archprior, tmp_path: Path) -> None:
    spec, log = tmp_path / "spec.yaml", tmp_path / "log.jsonl"
    spec.write_text(yaml.safe_dump(SPEC))
    run = ["run", spec, "--local", "--store", tmp_path / "store", "--log-json", log]
    assert archprior(*run)[0] == 0
    found = lines(log)
    assert {line["study"] for line in found} == {"logged"}
    assert all(line["time"].endswith("+00:00") for line in found)
    ids = {replicate.id for replicate in Study(**SPEC).plan().replicates}
    ended = {line["replicate_id"] for line in found if line["event"] == "ended"}
    assert ended == ids
    steps = [line["step"] for line in found if line["event"] == "measured"]
    assert sorted(set(steps)) == [0, 2, 4]
    assert any("training 3 replicates" in line["text"] for line in found if line["event"] == "said")
    assert [line["event"] for line in found].index("over") == len(found) - 1
    assert found[-1]["status"] == "complete"
    assert found[-1]["text"] == "3 of 3 replicates are finished"
    # A later run goes on in the same file.
    assert archprior(*run)[0] == 0
    assert lines(log)[: len(found)] == found


def test_a_worker_of_many_logs_what_it_trains_alone(archprior: Archprior, tmp_path: Path) -> None:
    spec, log = tmp_path / "spec.yaml", tmp_path / "log.jsonl"
    spec.write_text(yaml.safe_dump(SPEC))
    work = ["work", spec, "--store", tmp_path / "store", "--log-json", log]
    assert archprior(*work)[0] == 0
    found = lines(log)
    ids = {replicate.id for replicate in Study(**SPEC).plan().replicates}
    assert {line["replicate_id"] for line in found if line["event"] == "ended"} == ids
    assert {line["replicate_id"] for line in found if line["event"] == "measured"} == ids
    assert (
        sum(line["text"].endswith(": finished") for line in found if line["event"] == "said") == 3
    )
    over = {"event": "over", "status": "complete", "text": "3 of 3 replicates are finished"}
    assert found[-1].items() >= over.items()
    # Another finds all of it done, and has trained nothing.
    assert archprior(*work)[0] == 0
    assert [line["event"] for line in lines(log)[len(found) :]] == ["over"]


@pytest.mark.processes
def test_a_confirmation_logs_its_run_at_fresh_seeds(archprior: Archprior, tmp_path: Path) -> None:
    store, log = tmp_path / "store", tmp_path / "log.jsonl"
    assert Study(**SPEC | {"expect": ["baseline >= 0"]}).run(store=store, local=True).complete
    status, out, err = archprior(
        "confirm", "logged", "--local", "--store", store, "--log-json", log
    )
    assert status == 0, out + err
    found = lines(log)
    assert {line["study"] for line in found} == {"logged-confirm"}
    assert len({line["replicate_id"] for line in found if line["event"] == "ended"}) == 9
    assert found[-1].items() >= {"event": "over", "status": "complete"}.items()


def test_what_json_has_no_word_for_is_null(tmp_path: Path) -> None:
    with EventLog(tmp_path / "log", "s") as log:
        log.report(Measured(replicate_id="a", step=1, metrics={"loss": float("nan")}, timestamp=0))
        log.report(Aborted(error="x\ny", traceback="line\nline"))
    measured, aborted = lines(tmp_path / "log")
    assert measured["metrics"] == {"loss": None}
    assert (aborted["event"], aborted["error"]) == ("aborted", "x\ny")


def test_numbers_in_lists_are_null_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"kind": "Told", "values": [float("nan"), (1.5, float("inf"))]}
    monkeypatch.setattr("study.run.event_log.encode", lambda _message: dict(content))
    with EventLog(tmp_path / "log", "s") as log:
        log.report(Aborted(error="x", traceback="y"))
    assert lines(tmp_path / "log")[0]["values"] == [None, [1.5, None]]


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (KeyboardInterrupt("SIGINT"), "interrupted", "SIGINT"),
        (RuntimeError("gone"), "error", "gone"),
        (RuntimeError(), "error", "RuntimeError"),
    ],
)
def test_the_last_event_says_how_a_run_ended(
    tmp_path: Path, error: BaseException, status: str, text: str
) -> None:
    with pytest.raises(type(error)), EventLog(tmp_path / "log", "s"):
        raise error
    (line,) = lines(tmp_path / "log")
    assert (line["event"], line["status"], line["text"]) == ("over", status, text)


def test_a_file_that_cannot_be_written_is_a_mistake_before_anything_is_trained(
    tmp_path: Path,
) -> None:
    with pytest.raises(SpecError, match=r"--log-json: .* cannot be written: No such file"):
        Study(**SPEC).run(store=tmp_path / "s", local=True, log_json=tmp_path / "no" / "log")
    assert not (tmp_path / "s" / "replicates").exists()
