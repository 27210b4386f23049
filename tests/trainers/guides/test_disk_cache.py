"""The guide's cache in the store: built once, shared, rebuilt when damaged; the same numbers."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import trainers
from tests.helpers.conditions import changed, term_of
from trainers.conditions.cache_form import DEFAULT_BYTES, Cache
from trainers.conditions.condition import Condition
from trainers.conditions.encoding import from_json, to_json
from trainers.conditions.ids import replicate_id
from trainers.guides.cache_plan import Budget, tap_widths, with_cache
from trainers.guides.cached_features import Allocate
from trainers.guides.disk_cache import mapped
from trainers.store.folder import Folder, StorageError

MakeCondition = Callable[..., Condition]
FORMS = pytest.mark.parametrize(
    "form",
    [
        {"form": "features"},
        {"form": "features", "dtype": "float16"},
        {"form": "gram"},
        {"form": "gram", "dtype": "float16"},
        {"form": "live"},
    ],
    ids=str,
)


def cached(condition: Condition, **form: Any) -> Condition:
    assert condition.guidance is not None
    cache = Cache(feature_bytes=1000, **form)
    return changed(condition, cache=cache)


def silent(payload: object) -> None: ...


def caches(store: Path) -> list[Path]:
    return sorted(store.glob("guide_cache/*/*/arrays/manifest.json"))


@FORMS
@pytest.mark.parametrize("control", ["none", "shuffled", "noise"])
def test_a_store_changes_no_bit(
    form: Any, control: str, make: MakeCondition, tmp_path: Path, same_result: Any
) -> None:
    condition = cached(make(control=control), **form)
    alone = trainers.train(condition, report=silent)
    same_result(alone, trainers.train(condition, store=tmp_path, report=silent))
    assert len(caches(tmp_path)) == (form["form"] != "live")


@pytest.mark.processes
@FORMS
def test_resumed_is_undisturbed(
    form: Any, make: MakeCondition, tmp_path: Path, same_result: Any, reports: Any,
    interruption: type[Exception],
) -> None:  # fmt: skip
    condition = cached(make(control="none", state="trained"), **form)
    undisturbed = trainers.train(condition, store=tmp_path / "a", report=silent)
    with pytest.raises(interruption):
        trainers.train(condition, store=tmp_path / "b", report=reports(interrupt_at=4))
    same_result(undisturbed, trainers.train(condition, store=tmp_path / "b", report=silent))


def test_forms_agree(make: MakeCondition) -> None:
    condition = make(control="none", optimizer="sgd")
    losses = [
        trainers.train(cached(condition, form=form), report=silent).metrics["loss"]
        for form in ("features", "gram", "live")
    ]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_features_are_what_is_kept_without_a_cache(make: MakeCondition, same_result: Any) -> None:
    plain = make(control="none")
    kept = cached(plain, form="features")
    assert replicate_id(plain, 0) == replicate_id(kept, 0)
    same_result(trainers.train(plain, report=silent), trainers.train(kept, report=silent))


def test_ids_tell_forms_apart(make: MakeCondition) -> None:
    plain = make(control="none")
    forms: list[Any] = [
        {"form": "features", "dtype": "float16"},
        {"form": "gram"},
        {"form": "gram", "dtype": "float16"},
        {"form": "live"},
    ]
    ids = [replicate_id(cached(plain, **form), 0) for form in forms]
    assert len({*ids, replicate_id(plain, 0)}) == 5
    large = Cache(form="live", feature_bytes=DEFAULT_BYTES + 1)
    assert large.identity() is None
    assert replace(large, form="features").identity() is not None
    for form in forms:
        condition = cached(plain, **form)
        assert from_json(to_json(condition)) == condition


@pytest.mark.processes
def test_runs_share_a_cache_where_the_guide_sees_the_same(
    make: MakeCondition, tmp_path: Path
) -> None:
    def train(expected: int, form: str = "gram", seed: int = 0, **options: Any) -> None:
        condition = cached(make(**options), form=form)
        trainers.train(condition, seed=seed, store=tmp_path, report=silent)
        assert len(caches(tmp_path)) == expected

    train(1, control="none")
    train(1, control="shuffled")
    train(1, control="none", target={"width": 9})
    train(2, control="noise")
    train(3, control="noise", target={"width": 9})
    train(4, form="features", control="none")
    train(5, control="none", batch_norm="eval")
    train(6, control="none", state="trained")
    train(7, control="none", seed=1)
    train(8, control="none", guidance={"rows": "pooled"})
    train(8, control="none", alpha=2.0)


def build(allocate: Allocate) -> None:
    allocate("values", (1000, 3), torch.float32).copy_(torch.arange(3000.0).view(1000, 3))
    allocate("scale", (), torch.float32).fill_(2.0)


def never(allocate: Allocate) -> None:
    raise AssertionError("built again")


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "values.npy").unlink(),
        lambda folder: (folder / "values.npy").write_bytes(b"\0" * 100),
        lambda folder: os.truncate(folder / "values.npy", 12000),
        lambda folder: change(folder / "values.npy"),
        lambda folder: np.save(folder / "scale.npy", np.ones(1, np.float32)),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "manifest.json").write_text("[]"),
    ],
    ids=["missing", "no array", "truncated", "changed", "other shape", "index", "other index"],
)
def test_a_damaged_cache_is_rebuilt(damage: Callable[[Path], object], tmp_path: Path) -> None:
    folder = Folder(tmp_path / "key")
    first = {name: array.clone() for name, array in mapped(folder, build).items()}
    mapped(folder, never)
    damage(tmp_path / "key" / "arrays")
    with pytest.warns(UserWarning, match="is rebuilt"):
        again = mapped(folder, build)
    assert all(torch.equal(first[name], again[name]) for name in first)
    mapped(folder, never)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "key"
    folder.mkdir()
    (folder / ".arrays.0123").mkdir()
    (folder / ".arrays.0123" / "values.npy").write_bytes(bytes(1000))
    mapped(Folder(folder), build)
    assert not list(folder.glob(".*"))
    assert list(folder.glob("arrays/*.npy"))


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    def fails(allocate: Allocate) -> None:
        allocate("values", (10,), torch.float32)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        mapped(Folder(tmp_path / "key"), fails)
    assert list((tmp_path / "key").iterdir()) == []
    mapped(Folder(tmp_path / "key"), build)


def test_what_is_done_to_a_mapped_array_stays_in_the_process(tmp_path: Path) -> None:
    mapped(Folder(tmp_path / "key"), build)["values"].zero_()
    assert mapped(Folder(tmp_path / "key"), never)["values"][1, 0] == 3


def _ask(folder: str, ready: Any, log: str) -> None:
    def counted(allocate: Allocate) -> None:
        with Path(log).open("a") as file:
            file.write("built\n")
        build(allocate)

    ready.wait()
    assert mapped(Folder(folder), counted)["values"].sum() == 2999 * 1500


@pytest.mark.processes
def test_processes_that_ask_at_once_build_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, log = context.Barrier(2), tmp_path / "log"
    arguments = (str(tmp_path / "key"), ready, str(log))
    processes = [context.Process(target=_ask, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert log.read_text() == "built\n"


def test_a_bucket_gets_no_cache(make: MakeCondition, same_result: Any) -> None:
    condition = cached(make(control="none"), form="gram")
    alone = trainers.train(condition, report=silent)
    store = "memory://guide-cache-store"
    same_result(alone, trainers.train(condition, store=store, report=silent))
    assert "guide_cache" not in Folder(store).names()


def planned(condition: Condition, max_bytes: int, **budget: Any) -> str | None:
    found = with_cache(condition, Budget(max_bytes=max_bytes, **budget)).guidance
    assert found is not None
    cache = found.term.cache
    return None if cache is None else f"{cache.form} {cache.dtype}"


def test_the_form_follows_from_sizes(make: MakeCondition) -> None:
    narrow = make(control="none")
    assert narrow.guidance is not None
    widths = tap_widths(narrow.guidance.term.guide.architecture, narrow.task)
    assert widths == (128, 128, 128, 2)
    size = 1297 * sum(widths) * 4
    assert planned(narrow, size) == "features float32"
    assert planned(narrow, size - 1) == "live float32"
    assert planned(narrow, size // 2, dtype="float16") == "features float16"


def test_wide_features_are_kept_as_grams(make: MakeCondition) -> None:
    condition = make(control="none")
    shown = term_of(condition).guide
    network = replace(shown.architecture, options=(("blocks", 2), ("width", 16)))
    guide = replace(shown, architecture=network)
    wide = changed(condition, guide=guide)
    widths = tap_widths(network, condition.task)
    assert sum(widths) >= 1297
    gram, features = 1297**2 * len(widths) * 4, 1297 * sum(widths) * 4
    assert gram > features
    assert planned(wide, gram) == "gram float32"
    assert planned(wide, gram - 1) == "features float32"
    assert planned(wide, features - 1) == "live float32"


def test_distances_that_need_features_get_them(make: MakeCondition) -> None:
    condition = make(control="none", guidance={"rows": "pooled"})
    assert planned(condition, 2**30) == "features float32"


@pytest.mark.parametrize(
    "options",
    [
        {"control": "input", "state": None},
        {"control": "none", "batch_norm": "batch"},
        {"kind": "token", "control": "none"},
        {},
    ],
    ids=str,
)
def test_nothing_is_planned_where_nothing_can_be_kept(options: Any, make: MakeCondition) -> None:
    condition = make(**options)
    assert with_cache(condition, Budget(max_bytes=2**40)) == condition


def test_a_cache_of_another_format_is_not_read(tmp_path: Path) -> None:
    """Files `<name>.bin` beside a `cache.json`, as they were before arrays had a folder."""
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "values.bin").write_bytes(bytes(12000))
    files = {"values": {"shape": [1000, 3], "dtype": "float32", "bytes": 12000, "crc32": 0}}
    (tmp_path / "key" / "cache.json").write_text(json.dumps({"files": files}))
    assert mapped(Folder(tmp_path / "key"), build)["values"][1, 0] == 3


def test_a_full_disk_is_said_before_anything_is_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match=r"cannot write the guide's cache .*No space left"):
        mapped(Folder(tmp_path / "key"), build)
    assert list((tmp_path / "key").iterdir()) == []


def test_shapes_of_arrays(tmp_path: Path) -> None:
    shapes: dict[str, Sequence[int]] = {
        name: tuple(array.shape) for name, array in mapped(Folder(tmp_path / "k"), build).items()
    }
    assert shapes == {"values": (1000, 3), "scale": ()}
