"""Splits that are prepared once a machine: the same bits, whatever happens to their files."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from trainers import tasks
from trainers.data import machine_cache
from trainers.tasks import TASKS, Task, base
from trainers.tasks.translated_digits import TranslatedDigits

DIGITS = TASKS.component("translated_digits", places=1)
#: A task of a user, and what lies beside it.
SOURCES = {
    "task.py": """
from trainers.tasks.translated_digits import TranslatedDigits

class Mine(TranslatedDigits):
    pass
""",
    "_helper.py": "A = 1\n",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ARCHPRIOR_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    # What was built of changed sources is not for others.
    tasks.clear_cache()


def fresh() -> Task:
    tasks.clear_cache()
    return tasks.build(DIGITS)


def loaded(task: Task, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Opens the splits; whether they had to be loaded."""
    calls = []
    original = type(task).load

    def load(self: Any) -> Any:
        calls.append(self)
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(type(task), "load", load)
        assert task.splits
    return bool(calls)


def same_as_generated(task: Task) -> bool:
    expected = TASKS[DIGITS.name].factory(**DIGITS.kwargs)
    return task.fingerprint == expected.fingerprint and all(
        torch.equal(split.inputs, expected.splits[name].inputs)
        and torch.equal(split.labels, expected.splits[name].labels)
        for name, split in task.splits.items()
    )


def files(cache: Path, pattern: str) -> list[Path]:
    return sorted((cache / "splits").glob(f"*/{pattern}"))


def test_the_second_process_maps_what_the_first_has_made(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loaded(fresh(), monkeypatch)
    again = fresh()
    assert not loaded(again, monkeypatch)
    assert same_as_generated(again)
    assert len(files(cache, "manifest.json")) == 1
    # Nothing that is done to a tensor reaches the file.
    again.train.inputs.zero_()
    assert same_as_generated(fresh())


def test_mapping_does_without_the_library_that_makes_the_data() -> None:
    assert fresh().splits
    code = """
import sys
from trainers import tasks
from trainers.tasks import TASKS
task = tasks.build(TASKS.component("translated_digits", places=1))
assert task.train.inputs.std() > 0 and len(task.fingerprint) == 16
assert "sklearn" not in sys.modules, "imported"
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
@pytest.mark.parametrize("file", ["train.inputs.npy", "test.labels.npy", "manifest.json"])
def test_what_is_damaged_is_made_again(
    file: str, damage: Callable[[Path], None], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fresh().splits
    (path,) = files(cache, file)
    damage(path)
    again = fresh()
    assert loaded(again, monkeypatch)
    assert same_as_generated(again)
    assert not loaded(fresh(), monkeypatch)


def test_where_nothing_can_be_written_each_has_its_own(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write_text("a file where the folder should be")
    for _ in range(2):
        task = fresh()
        assert loaded(task, monkeypatch)
        assert same_as_generated(task)


def test_other_options_other_data_other_packages(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fresh().splits
    assert tasks.build(TASKS.component("translated_digits", places=2)).splits
    assert len(files(cache, "manifest.json")) == 2
    monkeypatch.setattr(TranslatedDigits, "data_digest", lambda self: "other")
    assert fresh().splits
    assert len(files(cache, "manifest.json")) == 3
    monkeypatch.setattr(base, "version_of", lambda package: "0")
    assert fresh().splits
    assert len(files(cache, "manifest.json")) == 4
    assert not loaded(fresh(), monkeypatch)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"notes.py": ""}, True),
        ({"task.py": "# changed\n"}, False),
        ({"_helper.py": "# changed\n"}, False),
        ({"_other.py": "A = 1\n"}, False),
    ],
)
def test_sources_of_a_task_and_of_its_helpers(
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    same: bool,
) -> None:
    def task_of(folder: str, more: dict[str, str]) -> Task:
        (tmp_path / folder).mkdir()
        for name, text in ({"task.py": "", "_helper.py": ""} | more).items():
            (tmp_path / folder / name).write_text(SOURCES.get(name, "") + text)
        spec = importlib.util.spec_from_file_location(folder, tmp_path / folder / "task.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, folder, module)
        spec.loader.exec_module(module)
        task: Task = module.Mine(places=1)
        task.component = DIGITS
        return task

    assert loaded(task_of("first", {}), monkeypatch)
    assert loaded(task_of("second", changes), monkeypatch) != same


def test_a_class_without_a_file_is_not_kept(cache: Path) -> None:
    namespace: dict[str, Any] = {"Base": TranslatedDigits, "__name__": "nowhere"}
    exec("class Typed(Base):\n    pass", namespace)
    task = namespace["Typed"]()
    task.component = DIGITS
    assert task.splits
    assert not (cache / "splits").exists()


def keep(number: int) -> bool:
    for turn in range(20):
        arrays = {"a": np.full(1000, number), "b": np.full(10, number)}
        machine_cache.save("splits", "shared", arrays, {"number": number})
        kept = machine_cache.load("splits", "shared")
        # Another may be in the middle of replacing it; what is found is whole.
        if kept is not None:
            held = {kept.facts["number"], *kept.arrays["a"].tolist(), *kept.arrays["b"].tolist()}
            assert len(held) == 1, (turn, held)
    return True


def test_several_at_once(cache: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(keep, range(3))) == [True] * 3
    assert machine_cache.load("splits", "shared") is not None
    assert [path.name for path in (cache / "splits").iterdir()] == ["shared"]


def test_what_killed_processes_left_is_removed_after_a_day(cache: Path) -> None:
    splits, hexadecimal = cache / "splits", "0123456789abcdef" * 2
    past = time.time() - 25 * 3600
    for age in ("old", "new"):
        for name in (f".{age}.{hexadecimal}", f".{age}.{hexadecimal}.old", f"{age}{hexadecimal}"):
            folder = splits / name
            folder.mkdir(parents=True)
            (folder / "train.npy").touch()
            if age == "old":
                os.utime(folder / "train.npy", (past, past))
            # A large array is written long after its folder has changed.
            os.utime(folder, (past, past))
    for age, changed in (("old", past), ("new", time.time())):
        file = splits / f".{age}-file.{hexadecimal}"
        file.touch()
        os.utime(file, (changed, changed))
    machine_cache.save("splits", "key", {"a": np.zeros(1)}, {})
    assert {path.name for path in splits.iterdir()} == {
        f".new.{hexadecimal}", f".new.{hexadecimal}.old", f".new-file.{hexadecimal}",
        f"old{hexadecimal}", f"new{hexadecimal}", "key",
    }  # fmt: skip


def test_digests_are_computed_once_for_a_file_that_does_not_change(cache: Path) -> None:
    calls: list[Path] = []

    def digest(path: Path) -> str:
        calls.append(path)
        return path.read_text()

    path = cache.parent / "file"
    path.write_text("one")
    assert [machine_cache.remembered(path, digest) for _ in range(3)] == ["one"] * 3
    assert len(calls) == 1
    # Another process reads what this one has noted.
    assert anew(machine_cache).remembered(path, digest) == "one"
    assert len(calls) == 1
    path.write_text("other")
    assert machine_cache.remembered(path, digest) == "other"
    (cache / "digests.json").write_text("{damaged")
    assert anew(machine_cache).remembered(path, digest) == "other"
    assert len(calls) == 3


def anew(module: ModuleType) -> ModuleType:
    """A module as another process imports it, which remembers nothing of this one."""
    assert module.__spec__ is not None
    assert module.__spec__.loader is not None
    other = importlib.util.module_from_spec(module.__spec__)
    module.__spec__.loader.exec_module(other)
    return other
