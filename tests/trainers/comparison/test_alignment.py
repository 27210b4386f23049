"""Alignment of any two finished replicates of a store."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import trainers
from trainers import measures, tasks
from trainers.comparison import align, alignment
from trainers.conditions.condition import Condition
from trainers.conditions.encoding import from_json
from trainers.measures import MEASURES, ProductAccumulator
from trainers.messages import silent
from trainers.registry import Component
from trainers.store.store import WEIGHTS, CorruptError, Store
from trainers.store.tables import ALIGNMENT
from trainers.training.evaluation import tap_outputs
from trainers.training.train import load

MakeCondition = Callable[..., Condition]
CPU = torch.device("cpu")
UNBIASED = MEASURES.component("linear_cka", unbiased=True)


def features(store: Path, identifier: str) -> dict[str, torch.Tensor]:
    """Tap features of the whole test set, computed apart from what is tested."""
    task = tasks.build(from_json(Store(store).replicate(identifier).described()).task)
    outputs = tap_outputs(load(store, identifier), task.test.inputs, CPU)
    end = 1 if task.input.kind == "tokens" else 0
    return {
        tap: output.flatten(0, end) if end else output.flatten(1) for tap, output in outputs.items()
    }


@pytest.mark.parametrize("kind", ["image", "token"])
def test_every_tap_with_every_tap_over_the_whole_test_set(
    trained: dict[str, Any], kind: str
) -> None:
    rows = align(trained["store"], trained[kind], trained[f"{kind} guide"])
    target = features(trained["store"], trained[kind])
    guide = features(trained["store"], trained[f"{kind} guide"])
    assert [(r["guide_tap"], r["target_tap"]) for r in rows] == [
        (g, t) for g in guide for t in target
    ]
    measure = measures.create("linear_cka", unbiased=True)
    n = len(next(iter(target.values())))
    for row in rows:
        assert list(row) == list(ALIGNMENT)
        expected = measure(target[row["target_tap"]], guide[row["guide_tap"]])
        assert row["similarity"] == pytest.approx(expected, abs=1e-6)
        assert (row["n"], row["moment"]) == (n, "final")
        assert row["measure"] == "linear_cka(unbiased=true)"
        assert row["rows"] == ("tokens" if kind == "token" else "examples")
        assert row["replicate_id"] == trained[kind]
        assert (row["target_collapsed"], row["guide_collapsed"]) == (False, False)


@pytest.mark.parametrize("name", sorted({*MEASURES.names()} - {"cca", "svcca"}))
def test_any_measure(trained: dict[str, Any], name: str) -> None:
    rows = align(trained["store"], trained["token"], trained["token guide"], measure=name)
    assert {row["measure"] for row in rows} == {name}
    assert all(math.isfinite(row["similarity"]) for row in rows)


def test_replicate_with_itself(trained: dict[str, Any]) -> None:
    store, same = trained["store"], trained["image"]
    for row in align(store, same, same, measure="procrustes"):
        if row["guide_tap"] == row["target_tap"]:
            assert row["similarity"] == pytest.approx(1, abs=1e-9)
    before = align(store, same, same, measure="procrustes", guide_moment="initial")
    own = [row["similarity"] for row in before if row["guide_tap"] == row["target_tap"]]
    assert all(0.1 < similarity < 1 - 1e-6 for similarity in own)


def test_exchanged_ids_exchange_taps(trained: dict[str, Any]) -> None:
    store, first, second = trained["store"], trained["image"], trained["image guide"]
    forth = {
        (r["guide_tap"], r["target_tap"]): r["similarity"] for r in align(store, first, second)
    }
    back = {(r["target_tap"], r["guide_tap"]): r["similarity"] for r in align(store, second, first)}
    assert forth == pytest.approx(back, abs=1e-12)


def test_the_run_s_own_table_has_the_same_up_to_its_estimator(trained: dict[str, Any]) -> None:
    import io

    import pyarrow.parquet as pq

    replicate = Store(trained["store"]).replicate(trained["image guided"])
    table = pq.read_table(io.BytesIO(replicate.read("alignment.parquet"))).to_pylist()
    for moment in ("initial", "final"):
        rows = align(
            trained["store"], trained["image guided"], trained["image guide"], moment=moment
        )
        noted = {(r["guide_tap"], r["target_tap"]): r for r in table if r["moment"] == moment}
        for row in rows:
            own = noted[row["guide_tap"], row["target_tap"]]
            assert row["measure"] == "linear_cka(unbiased=true)"
            assert own["measure"] == "linear_cka(unbiased=true,estimator=batches)"
            assert row["similarity"] == pytest.approx(own["similarity"], abs=0.1)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Labels of the measures that were computed, not read."""
    labels: list[str] = []
    build = measures.build

    def spy(component: Component) -> Any:
        labels.append(MEASURES.label(component))
        return build(component)

    monkeypatch.setattr(measures, "build", spy)
    return labels


def test_results_are_kept_by_everything_that_decides_them(
    trained: dict[str, Any], computed: list[str], tmp_path: Path
) -> None:
    store, ids = trained["store"], (trained["image"], trained["image guide"])
    calls: list[dict[str, Any]] = [
        {"measure": MEASURES.component("rsa", rdm="cosine")},
        {"measure": MEASURES.component("rsa", rdm="squared_euclidean")},
        {"measure": MEASURES.component("rsa", rdm="cosine"), "split": "validation"},
        {"measure": MEASURES.component("rsa", rdm="cosine"), "moment": "initial"},
        {"measure": MEASURES.component("rsa", rdm="cosine"), "guide_moment": "initial"},
    ]
    first = [align(store, *ids, **call) for call in calls]
    assert len(computed) == len(calls)
    assert [align(store, *ids, **call) for call in calls] == first
    assert len(computed) == len(calls)
    assert len({str(rows) for rows in first}) == len(calls)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_damaged_results_are_made_again(
    trained: dict[str, Any], computed: list[str], damage: str
) -> None:
    store, ids = trained["store"], (trained["image"], trained["image guide"])
    rows = align(store, *ids)
    (file,) = (store / "alignments" / "-".join(ids)).glob("linear_cka-final-*.parquet")
    content = file.read_bytes()
    computed.clear()
    flipped = bytearray(content)
    flipped[len(flipped) // 3] ^= 0xFF
    other = (store / "replicates" / trained["image guided"] / "history.parquet").read_bytes()
    file.write_bytes(
        {"cut": content[:-20], "flipped": bytes(flipped), "empty": b"", "other": other}[damage]
    )
    assert align(store, *ids) == rows
    assert computed == ["linear_cka(unbiased=true)"]
    assert file.read_bytes() == content


def test_wide_taps_are_taken_all_at_once(
    trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    summed, whole = both_ways(trained, monkeypatch, "SUM_BYTES", 0)
    assert [r["similarity"] for r in whole] == pytest.approx(
        [r["similarity"] for r in summed], abs=1e-9
    )
    assert [(r["measure"], r["n"]) for r in whole] == [(r["measure"], r["n"]) for r in summed]


def test_matrices_of_rows_say_what_sums_say(
    trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    added: list[int] = []
    update = ProductAccumulator.update

    def spy(sums: ProductAccumulator, target: Any, guide: Any) -> None:
        added.append(len(target))
        update(sums, target, guide)

    monkeypatch.setattr(ProductAccumulator, "update", spy)
    found = []
    for by_grams in (True, False):
        shutil.rmtree(trained["store"] / "alignments", ignore_errors=True)
        monkeypatch.setattr(alignment, "grams_cost_less", lambda *_, by_grams=by_grams: by_grams)
        found.append(align(trained["store"], trained["image"], trained["image guide"]))
        assert bool(added) is not by_grams
    by_matrices, summed = found
    same = ("measure", "n", "guide_tap", "target_tap", "target_collapsed")
    assert [[r[key] for key in same] for r in by_matrices] == [[r[k] for k in same] for r in summed]
    assert [r["similarity"] for r in by_matrices] == pytest.approx(
        [r["similarity"] for r in summed], abs=1e-9
    )


@pytest.mark.parametrize(
    ("taps", "width", "examples", "expected"),
    [
        (38, 640, 1000, True),
        (4, 64, 1000, False),
        (38, 640, 3000, False),
        (2, 200, 1000, False),
    ],
)
def test_matrices_of_rows_where_they_cost_less(
    taps: int, width: int, examples: int, expected: bool
) -> None:
    assert alignment.grams_cost_less([width] * taps, [width] * taps, examples) == expected


def test_where_that_is_too_much_batches_stand_in(
    trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alignment, "SUM_BYTES", 0)
    whole, batches = both_ways(trained, monkeypatch, "MAX_ROWS", 100)
    assert {row["measure"] for row in batches} == {"linear_cka(unbiased=true,estimator=batches)"}
    assert {row["n"] for row in batches} == {row["n"] for row in whole}
    assert [r["similarity"] for r in batches] == pytest.approx(
        [r["similarity"] for r in whole], abs=0.02
    )


@pytest.mark.parametrize("limit", ["MAX_ROWS", "FEATURE_BYTES"])
def test_measures_of_all_rows_take_evenly_spaced_examples(
    trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    whole, part = both_ways(
        trained, monkeypatch, limit, 100 if limit == "MAX_ROWS" else 100_000, measure="rsa"
    )
    (rows,) = {row["n"] for row in part}
    assert 3 < rows <= 100
    assert rows < whole[0]["n"]
    assert [r["similarity"] for r in part] != [r["similarity"] for r in whole]
    target = features(trained["store"], trained["image"])
    guide = features(trained["store"], trained["image guide"])
    chosen = torch.arange(rows) * whole[0]["n"] // rows
    for row in part:
        sides = target[row["target_tap"]][chosen], guide[row["guide_tap"]][chosen]
        assert row["similarity"] == pytest.approx(measures.create("rsa")(*sides), abs=1e-5)


def both_ways(
    trained: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: int,
    measure: Any = UNBIASED,
) -> list[list[dict[str, Any]]]:
    """Results with a limit as it is, and with another."""
    ids = trained["image"], trained["image guide"]
    results = []
    for limit in (getattr(alignment, name), value):
        monkeypatch.setattr(alignment, name, limit)
        monkeypatch.setattr(alignment, "VERSION", f"{name}={limit}")
        results.append(align(trained["store"], *ids, measure=measure))
    return results


def test_the_caller_s_generators_and_threads_stay(trained: dict[str, Any]) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    align(trained["store"], trained["image"], trained["image guided"], moment="initial")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_not_finished(trained: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="replicates/0123: no finished replicate"):
        align(trained["store"], "0123", trained["image"])
    with pytest.raises(FileNotFoundError, match="no finished replicate"):
        align(tmp_path, trained["image"], trained["image"])


def test_different_tasks(trained: dict[str, Any]) -> None:
    message = r"different tasks .*is of translated_digits.* of copy_paste"
    with pytest.raises(ValueError, match=message):
        align(trained["store"], trained["image"], trained["token guide"])


def test_a_measure_that_is_not_defined_for_a_tap(trained: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"rbf_cka") as refused:
        align(trained["store"], trained["image"], trained["image guide"], measure="rbf_ccka")
    assert "did you mean" in str(refused.value)
    many = MEASURES.component("mutual_knn", k=1999)
    with pytest.raises(ValueError, match=r"mutual_knn\(k=1999\) of tap '.*': .* needs n >= 2001"):
        align(trained["store"], trained["image"], trained["image guide"], measure=many)


def test_unknown_split_and_moment(trained: dict[str, Any]) -> None:
    ids = trained["image"], trained["image"]
    with pytest.raises(ValueError, match="split is 'dev'; this task has test, train, validation"):
        align(trained["store"], *ids, split="dev")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="moment is 'last'; allowed: initial, final"):
        align(trained["store"], *ids, moment="last")  # type: ignore[arg-type]


def test_damaged_weights_are_named(trained: dict[str, Any], make: MakeCondition) -> None:
    damaged = trainers.train(
        make("image"), seed=3, store=trained["store"], report=silent
    ).replicate_id
    file = trained["store"] / "replicates" / damaged / WEIGHTS
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(CorruptError, match=r"weights\.safetensors is damaged"):
        align(trained["store"], damaged, trained["image"])
