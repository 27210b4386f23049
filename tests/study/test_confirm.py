"""Confirmation of a study: frozen once, at seeds never used, trained alone, then judged."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import analysis
from study import Study
from study.cli import app, signals
from study.confirm import StudyInStore, confirm
from study.errors import SpecError
from study.plan import table
from study.run import frozen as records
from study.run.interrupts import Interruption
from trainers.store.folder import Folder
from trainers.store.lease import Lease
from trainers.store.store import Store

pytestmark = pytest.mark.processes

SPEC: dict[str, Any] = {
    "name": "tiny",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 1, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "states": ["untrained"],
    "controls": [],
    "seeds": 3,
    "train": {"steps": 2, "batch_size": 20},
    "expect": [{"rule": "untrained - baseline >= -2", "claim": "no wonder"}, "baseline >= 2"],
    "confirm": ["untrained"],
}
NETWORK = """
from trainers.architectures import register
from trainers.architectures.fcn import fcn

@register("my_net", inputs=("image",))
def my_net(input, output):
    "A network of mine."
    return fcn(input, output, depth=1, width=8)
"""
#: By hand: guide, baseline and guided, at each seed.
NUM_CONDITIONS = 3


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the study was run."""
    store = tmp_path_factory.mktemp("explored") / "store"
    Study(**SPEC).run(store=store, local=True)
    return store


@pytest.fixture
def store(explored: Path, tmp_path: Path) -> Path:
    """A copy of that store."""
    return Path(shutil.copytree(explored, tmp_path / "store"))


class StoppedHereError(Exception):
    """Instead of a run at fresh seeds."""


@pytest.fixture
def freeze(store: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., records.Frozen]:
    """Confirms up to the moment at which training would begin; gives what was frozen."""

    def run(study: Study, **how: Any) -> None:
        assert records.read(Folder(store) / "studies/tiny") is not None, "trained before frozen"
        raise StoppedHereError(study, how)

    def make(**options: Any) -> records.Frozen:
        with pytest.raises(StoppedHereError) as caught:
            confirm("tiny", store=store, **options)
        study, _ = caught.value.args
        found = records.read(Folder(store) / "studies/tiny")
        assert found is not None
        assert {seed for block in study.spec.blocks for seed in block.seeds} == {*found.seeds}
        assert study.name == found.confirmation
        return found

    monkeypatch.setattr(Study, "run", run)
    return make


def respecified(store: Path, **changes: Any) -> None:
    """Change the study's spec in the store, as a new run of the changed spec would."""
    (store / "studies/tiny/spec.yaml").write_text(yaml.safe_dump(SPEC | changes))


def test_the_command_trains_fresh_seeds_alone_and_judges(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name for path in (store / "replicates").iterdir()}
    arguments = ["archprior", "confirm", "tiny", "--store", str(store), "--local"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        app.main()
    out, err = capsys.readouterr()
    # `baseline >= 2` cannot be.
    assert ended.value.code == 1, err
    new = analysis.load("tiny-confirm", "replicates", store=store)
    assert set(new["seed"]) == {3, 4, 5}
    assert len(new) == 3 * NUM_CONDITIONS
    assert set(new["status"]) == {"finished"}
    assert not {*new["replicate_id"]} & before

    frame = analysis.load("tiny", "confirm", store=store)
    explored, fresh = (
        analysis.load(name, "transfer", store=store).query("primary").iloc[0]
        for name in ("tiny", "tiny-confirm")
    )
    rule, impossible, row = frame.to_dict("records")
    num_confirmed = (frame["verdict"] == "confirmed").sum()
    assert f"{row['verdict']}: {row['asked']}" in out
    assert f"{num_confirmed} of 3 confirmed at seeds 3, 4, 5, frozen " in out
    assert (rule["verdict"], impossible["verdict"]) == ("confirmed", "contradicted")
    assert rule["claim"] == "no wonder"
    assert set(frame["confirmation"]) == {"tiny-confirm"}
    for which, there in (("exploratory", explored), ("confirmed", fresh)):
        assert row[f"{which}_value"] == rule[f"{which}_value"] == there["difference"]
        assert row[f"{which}_verdict"] == there["verdict_adjusted"]
        assert row[f"{which}_n"] == 3
    assert row["confirmed_p"] == there["p_adjusted"]
    assert fresh["confirm"]

    again = confirm("tiny", store=store, local=True)
    assert {path.name for path in (store / "replicates").iterdir()} == before | {
        *new["replicate_id"]
    }
    pd.testing.assert_frame_equal(again.table, frame)


def test_all_is_frozen_before_anything_is_trained(freeze: Any, store: Path) -> None:
    frozen = freeze()
    assert (frozen.seeds, frozen.attempt) == ([3, 4, 5], 1)
    assert frozen.statements == {key: SPEC[key] for key in ("expect", "confirm")}
    transfer = analysis.load("tiny", "transfer", store=store).query("primary").iloc[0]
    assert [row["n"] for row in frozen.exploratory] == [3, 3, 3]
    assert frozen.exploratory[2]["value"] == transfer["difference"]
    assert freeze() == frozen


def test_the_number_of_seeds(freeze: Any) -> None:
    assert freeze(seeds=4).seeds == [3, 4, 5, 6]
    assert freeze(seeds=4).seeds == [3, 4, 5, 6]
    with pytest.raises(SpecError, match=r"--seeds: 5, but 4 seeds were frozen"):
        freeze(seeds=5)
    assert freeze(seeds=5, anew=True).seeds == [7, 8, 9, 10, 11]


def test_seeds_with_replicates_in_the_store_are_used(freeze: Any, store: Path) -> None:
    """Of another study, or of this one when it had more seeds."""
    plan = Study(**SPEC | {"seeds": 6}).plan()
    guided = next(p for p in plan.conditions if p.condition.role == "guided")
    (store / "replicates" / guided.ids[4]).mkdir()
    assert freeze().seeds == [3, 5, 6]


def test_tuning_seeds_are_used(freeze: Any, store: Path) -> None:
    search = {"budget": 1, "space": {"train.lr": [0.1, 0.2]}, "seeds": [3, 5]}
    respecified(store, search=search | {"select": "validation/accuracy"})
    assert freeze().seeds == [4, 6, 7]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"expect": ["baseline >= 3"]}, "expect:, confirm: or margin:"),
        ({"confirm": []}, "expect:, confirm: or margin:"),
        ({"margin": {"accuracy": 0.1}}, "expect:, confirm: or margin:"),
        ({"train": {"steps": 3, "batch_size": 20}}, "conditions"),
    ],
)
def test_another_spec_needs_a_confirmation_anew(
    freeze: Any, store: Path, changes: dict[str, Any], words: str
) -> None:
    first = freeze()
    respecified(store, **changes)
    with pytest.raises(SpecError, match=r"archprior confirm tiny --anew") as caught:
        freeze()
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    folder = Folder(store) / "studies/tiny"
    folder.write("confirm.parquet", b"a table of the first")

    second = freeze(anew=True)
    assert (second.attempt, second.confirmation) == (2, "tiny-confirm-2")
    assert second.seeds == [6, 7, 8]
    assert folder.read("confirm-1.parquet") == b"a table of the first"
    assert not folder.exists("confirm.parquet")
    assert {each.attempt: each.seeds for each in records.all_of(folder)} == {
        1: first.seeds,
        2: second.seeds,
    }


def test_more_seeds_and_other_resources_change_nothing(freeze: Any, store: Path) -> None:
    first = freeze()
    respecified(store, seeds=[0, 1], resources={"cpus_per_worker": 2})
    assert freeze() == first


def _of_other_rules(content: dict[str, Any]) -> None:
    content["statements"]["expect"] = []


def _of_other_values(content: dict[str, Any]) -> None:
    content["exploratory"][0]["value"] = 0.9


def _of_other_seeds(content: dict[str, Any]) -> None:
    content["seeds"] = [0, 1, 2]


def _as_older_versions_wrote_it(content: dict[str, Any]) -> None:
    del content["digest"]
    _of_other_values(content)


@pytest.mark.parametrize(
    "edited", [_of_other_rules, _of_other_values, _of_other_seeds, _as_older_versions_wrote_it]
)
def test_what_was_frozen_cannot_be_edited(freeze: Any, store: Path, edited: Any) -> None:
    freeze()
    path = store / "studies/tiny/confirm.json"
    content = json.loads(path.read_text())
    edited(content)
    path.write_text(json.dumps(content))
    with pytest.raises(SpecError, match="it was edited"):
        freeze()
    path.write_text("{")
    with pytest.raises(SpecError, match="is damaged"):
        freeze(anew=True)


def test_a_study_at_work_is_not_frozen(freeze: Any, store: Path) -> None:
    with (
        Lease(Folder(store) / "studies/tiny"),
        pytest.raises(SpecError, match="is being run already"),
    ):
        freeze()


def test_a_study_of_that_name_is_left_alone(freeze: Any, store: Path) -> None:
    """It may be a confirmation whose record was lost: its seeds are in the store."""
    shutil.copytree(store / "studies/tiny", store / "studies/tiny-confirm")
    frozen = freeze()
    assert (frozen.attempt, frozen.confirmation) == (2, "tiny-confirm-2")
    assert freeze(anew=True).confirmation == "tiny-confirm-3"


def _without_plan(store: Path) -> None:
    (store / "studies/tiny/plan.parquet").unlink()
    # An older archprior wrote it there.
    shutil.rmtree(store / "mlflow-artifacts")


def _without_tables(store: Path) -> None:
    for path in (store / "studies/tiny").glob("*.parquet"):
        if path.name not in ("plan.parquet", "alignments.parquet", "guide_taps.parquet"):
            path.unlink()


@pytest.mark.parametrize(
    ("arguments", "damage", "words"),
    [
        (["tinny"], lambda _: None, "did you mean 'tiny'?"),
        (["../tiny"], lambda _: None, "is not a name of the form"),
        (["tiny", "--seeds", "0"], lambda _: None, "--seeds: 0 have no interval; allowed: 3 or"),
        (["tiny", "--seeds", "2"], lambda _: None, "--seeds: 2 have no interval"),
        (["tiny"], lambda store: respecified(store, expect=[], confirm=[]), "nothing to confirm"),
        (["tiny"], _without_tables, "archprior analyze tiny --store STORE writes the tables"),
        (["tiny"], _without_plan, "there is no plan.parquet"),
    ],
)
def test_bad_input(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], damage: Callable[[Path], None], words: str,
) -> None:  # fmt: skip
    damage(store)
    monkeypatch.setattr(
        sys, "argv", ["archprior", "confirm", *arguments, "--store", str(store), "--local"]
    )
    with pytest.raises(SystemExit) as ended:
        app.main()
    err = capsys.readouterr().err
    assert (ended.value.code, len(err.splitlines())) == (2, 1), err
    assert words.replace("STORE", str(store)) in err
    assert not (store / "studies/tiny/confirm.json").exists()


def test_an_interruption_says_how_to_go_on(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise Interruption(signal.SIGINT)

    arguments = ["archprior", "confirm", "tiny", "--store", str(store), "--local", "--seeds", "4"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--anew"])
    monkeypatch.setattr(Study, "run", interrupted)
    # It would end this process.
    monkeypatch.setattr(signals, "end_process", sys.exit)
    with pytest.raises(SystemExit):
        app.main()
    again = f"archprior confirm tiny --seeds 4 --store {store} --local starts, or goes on from"
    assert again in capsys.readouterr().err


@pytest.mark.usefixtures("no_imports")
def test_a_study_with_modules_needs_them_unchanged(tmp_path: Path) -> None:
    """Nothing is imported from a store: the user gives them, and the plan has their digests."""
    module, store = tmp_path / "my_net.py", tmp_path / "store"
    module.write_text(NETWORK)
    spec = SPEC | {"imports": [module], "targets": ["my_net"]}
    study = Study(**spec)
    folder = Folder(store) / "studies/tiny"
    folder.write("spec.yaml", yaml.safe_dump(spec | {"imports": ["my_net.py"]}).encode())
    facts = {"imports": f"my_net={study.spec.imports[0].digest}"}
    folder.write("plan.parquet", table.encode(study.plan(), facts))
    source = StudyInStore.read("tiny", Store(store))
    source.check_modules(study.spec.imports)
    fresh = source.at([3, 4], "tiny-confirm", study.spec.imports)
    assert "my_net" in {planned.labels["target"] for planned in fresh.plan().conditions}
    with pytest.raises(SpecError, match="--imports: study 'tiny' was trained with the modules my"):
        confirm("tiny", store=store)
    module.write_text(NETWORK + "# another\n")
    with pytest.raises(SpecError, match="--imports: study 'tiny' was trained with the modules my"):
        confirm("tiny", store=store, imports=[module])
