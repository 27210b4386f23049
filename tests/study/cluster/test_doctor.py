"""The doctor: what it finds, and what it leaves behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from study.cluster.doctor import drift_of
from tests.helpers.command_line import Archprior


class Clocks:
    """Our clock, and another, `ahead` of it, whose answers take `seconds` each there and back."""

    def __init__(self, ahead: float, *seconds: float) -> None:
        self.now, self._ahead, self._seconds = 1000.0, ahead, list(seconds)

    def other(self) -> float:
        taken = self._seconds.pop(0)
        self.now += taken / 2
        there = self.now + self._ahead
        self.now += taken / 2
        return there


@pytest.mark.parametrize(
    ("ahead", "seconds", "least"),
    [
        (0.0, (100.0, 0.2, 0.1), 0.0),
        # A first answer that takes long hides it, the next ones do not.
        (60.0, (200.0, 0.2, 0.1), 59.9),
        (-60.0, (200.0, 0.2, 0.1), 59.9),
    ],
)
def test_a_clock_differs_by_what_the_way_does_not_explain(
    ahead: float, seconds: tuple[float, ...], least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = Clocks(ahead, *seconds)
    monkeypatch.setattr(time, "time", lambda: clocks.now)
    assert least <= drift_of(clocks.other) <= abs(ahead)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("store", ["archprior-store", "new/folders/store"])
def test_it_leaves_no_folder_that_was_not_there(
    archprior: Archprior, here: Path, store: str
) -> None:
    _, out, _ = archprior("doctor", "--store", store)
    assert f"store: {here / store} can be written" in out
    assert list(here.iterdir()) == []


def test_it_leaves_a_store_as_it_is(archprior: Archprior, here: Path) -> None:
    (here / "store").mkdir()
    archprior("doctor", "--store", "store")
    assert [path.name for path in here.iterdir()] == ["store"]
