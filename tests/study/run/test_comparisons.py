"""The stage after training: what is compared, what is kept, and what happens when it fails."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from analysis.contract import ALIGNMENTS, GUIDE_TAPS, Status
from study.plan.progress import Progress
from study.run import comparisons
from study.run.comparisons import Wanted, WantedTaps
from trainers import comparison
from trainers.messages import silent
from trainers.store.store import WEIGHTS, Store
from trainers.trial.trial import TrialContext, run_trial


@pytest.fixture
def progress(trained: Any, store_copy: Path) -> Progress:
    """Of seed 1 the guide failed: what it should have guided is not there."""
    return Progress(trained.plan, Store(store_copy))


def rows(tables: dict[str, bytes], name: str = ALIGNMENTS) -> list[dict[str, Any]]:
    return pq.read_table(io.BytesIO(tables[name])).to_pylist()


def test_finished_pairs_are_compared_once_and_kept(progress: Progress) -> None:
    said: list[str] = []
    wanted = comparisons.wanted(progress)
    # Seed 0: the initial and the trained baseline and the guided target, with both guides, which
    # are compared with labels. Seed 1 has no guide alone, so that nothing is compared with it.
    assert len(wanted) == len(set(wanted)) == 2 * 3 + 2
    first = comparisons.run(progress, comparisons.here(progress), said.append)
    assert said == ["making 8 comparisons of the taps of networks"]

    def never(new: Any) -> Any:
        raise AssertionError(new)

    assert comparisons.run(progress, never, said.append) == first
    assert len(said) == 1
    taps = [each for each in wanted if isinstance(each, WantedTaps)]
    found = {(r["guide_id"], r["guide_moment"]) for r in rows(first, GUIDE_TAPS)}
    assert found == {(each.guide_id, each.guide_moment) for each in taps}
    assert {moment for _, moment in found} == {"initial", "final"}
    wanted = [each for each in wanted if isinstance(each, Wanted)]
    found = {
        (r["replicate_id"], r["guide_id"], r["moment"], r["guide_moment"]) for r in rows(first)
    }
    assert found == {(w.target_id, w.guide_id, w.moment, w.guide_moment) for w in wanted}
    assert {r["measure"] for r in rows(first)} == {"linear_cka(unbiased=true)"}
    assert {r["n"] for r in rows(first)} == {1600}


@pytest.mark.parametrize("guides_last", [False, True])
def test_trials_make_them_all_when_the_later_network_ends(
    trained: Any, tmp_path: Path, guides_last: bool
) -> None:
    """Trials of a replicate each, which know what the others have done from the store alone."""
    store = tmp_path / "store"
    todo = [r for r in trained.plan.replicates if r.seed == 0]
    if guides_last:
        # Where an earlier run has trained what they guide, a trial of the guides is the last.
        shutil.copytree(trained.folder / "replicates", store / "replicates")
        guides = [r for r in todo if r.role == "guide"]
        for guide in guides:
            Store(store).replicate(guide.id).folder.remove("result.json")
        todo = guides
    planned = comparisons.by_replicate(trained.plan)
    for replicate in todo:
        setting = TrialContext(store=str(store), report=silent, comparisons=planned)
        run_trial([(replicate.condition, replicate.seed)], setting)
    progress = Progress(trained.plan, Store(store))
    assert len(comparisons.wanted(progress)) == 2 * 3 + 2

    def never(new: Any) -> Any:
        raise AssertionError(new)

    said: list[str] = []
    content = comparisons.run(progress, never, said.append)
    assert said == []
    again = Progress(trained.plan, Store(trained.folder))
    shutil.rmtree(trained.folder / "alignments", ignore_errors=True)
    afterwards = comparisons.run(again, comparisons.here(again), said.append)
    shutil.rmtree(trained.folder / "alignments", ignore_errors=True)
    for name in (ALIGNMENTS, GUIDE_TAPS):
        found, again_found = (sorted(map(str, rows(each, name))) for each in (content, afterwards))
        assert found == again_found


@pytest.mark.parametrize("damage", ["garbage", "another seed", "missing"])
def test_a_damaged_description_is_written_anew(damage: str, progress: Progress) -> None:
    """The plan knows what it says, so nothing is trained for it."""
    said: list[str] = []
    wanted = comparisons.wanted(progress)
    folder = progress.store.replicate(wanted[0].target_id).folder
    before = folder.read("condition.json")
    if damage == "missing":
        folder.remove_file("condition.json")
    else:
        other = json.dumps(json.loads(before) | {"seed": 7}).encode()
        folder.write("condition.json", b"?" if damage == "garbage" else other)
    content = comparisons.run(progress, comparisons.here(progress), said.append)
    assert folder.read("condition.json") == before
    assert [line for line in said if line.startswith("warning")] == [
        f"warning: {folder.uri}/condition.json was damaged or missing: written anew"
    ]
    found = {(r["replicate_id"], r["moment"], r["guide_moment"]) for r in rows(content)}
    assert len(found) == 6
    assert comparisons.wanted(progress) == wanted


def test_damaged_weights_are_said_and_trained_anew(progress: Progress) -> None:
    said: list[str] = []
    target = comparisons.wanted(progress)[0].target_id
    damaged = progress.store.replicate(target)
    content = damaged.folder.read(WEIGHTS)
    damaged.folder.write(WEIGHTS, content[:-1] + bytes([content[-1] ^ 1]))
    tables = comparisons.run(progress, comparisons.here(progress), said.append)
    assert any("warning: alignment of" in line and target in line for line in said)
    (line,) = [line for line in said if line.endswith("run the study again to train it anew")]
    assert f"{target}/{WEIGHTS} is damaged" in line
    assert target not in {row["replicate_id"] for row in rows(tables) if row["moment"] == "final"}
    assert rows(tables)
    assert damaged.result() is None
    assert progress.states[target].status == Status.missing


@pytest.mark.parametrize("step", ["made", "make"])
def test_a_user_error_of_any_kind_concerns_one_comparison(
    step: str, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A measure, a network or a task of a user's raises what it likes."""
    said: list[str] = []
    first = comparisons.wanted(progress)[0]
    original = getattr(comparison, step)

    def breaks(store: str, *, sides: Any = None, **pair: Any) -> Any:
        if pair == asdict(first):
            raise KeyError("layer3")
        return original(store, **pair, **({} if sides is None else {"sides": sides}))

    monkeypatch.setattr(comparison, step, breaks)
    content = comparisons.run(progress, comparisons.here(progress), said.append)
    pair = f"{first.target_id} and {first.guide_id}"
    assert [line for line in said if line.startswith("warning")] == [
        f"warning: alignment of {pair}: KeyError: 'layer3'"
    ]
    assert rows(content)


def test_a_stage_that_dies_leaves_the_study_alone(progress: Progress) -> None:
    said: list[str] = []

    def dies(_new: Any) -> Any:
        raise RuntimeError("a worker died")

    assert rows(comparisons.run(progress, dies, said.append)) == []
    assert said[-1] == "warning: no comparison of networks: RuntimeError: a worker died"


def test_where_ray_is_gone_they_are_made_here(progress: Progress) -> None:
    said: list[str] = []

    def gone(_new: Any) -> Any:
        raise ConnectionError("the raylet died")

    own = comparisons.here(progress)
    maker = comparisons.or_here(gone, (ConnectionError,), said.append, own)
    content = comparisons.run(progress, maker, said.append)
    assert rows(content)
    assert said[-1] == "warning: ConnectionError: networks are compared by this process"
    assert content == comparisons.run(progress, gone, said.append, content)
