"""Plans with rivals: what they bring, how they are labelled, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from study import Study
from study.plan.build import Plan
from study.plan.weights import Sources, pinned
from study.spec.read import SpecError, read
from tests.helpers.command_line import Archprior
from tests.helpers.plans import IMAGES, TOKENS, plan_of
from tests.helpers.rivals import started
from tests.helpers.search import planned
from trainers.conditions.condition import Condition
from trainers.guides.pretrained import read_file

ALIGNED = "aligned_start(steps=3,guide=resnet2d,state={})"


def labels(plan: Plan) -> dict[tuple[str, str], int]:
    """Numbers of replicates by treatment and control, of rivals and their controls."""
    rows = [row for row in plan.rows() if row["treatment"] not in (None, "guidance")]
    return dict(Counter((row["treatment"], row["control"]) for row in rows))


def test_rivals_pair_with_the_baselines_of_guidance() -> None:
    plain = plan_of()
    plan = plan_of(rivals=["orthogonal", {"name": "label_smoothing", "smoothing": [0.1, 0.2]}])
    assert {r.id for r in plain.replicates} < {r.id for r in plan.replicates}
    assert labels(plan) == {
        ("orthogonal", "none"): 2,
        ("label_smoothing", "none"): 2,
        ("label_smoothing(smoothing=0.2)", "none"): 2,
    }
    baselines = {r.seed: r.id for r in plan.replicates if r.role == "baseline"}
    for row in plan.rows():
        if row["role"] in ("guided", "control"):
            assert row["treatment"] == "guidance"
        if row["role"] != "rival":
            continue
        assert row["baseline_id"] == baselines[row["seed"]]
        assert row["required_controls"] == []
        empty = ("guide", "state", "distance", "mapping", "schedule", "alpha", "guide_id",
                 "num_pairs", "stop_step")  # fmt: skip
        assert {row[name] for name in empty} == {None}
    assert plan.notes() == plain.notes()


def test_rivals_stand_without_guides() -> None:
    """Whether a start helps needs no guide; its baselines are those of guidance."""
    spec = IMAGES | {"rivals": ["orthogonal"]}
    plan = Study(**{key: value for key, value in spec.items() if key != "guides"}).plan()
    assert Counter(row["role"] for row in plan.rows()) == {"baseline": 2, "rival": 2}
    assert {r.id for r in plan.replicates} < {
        r.id for r in plan_of(rivals=["orthogonal"]).replicates
    }
    aligned = spec | {"guides": [], "rivals": ["orthogonal", {"name": "aligned_start", "steps": 3}]}
    with pytest.raises(
        SpecError, match=r"rivals\[1\]: aligned_start aligns with guides: give guides"
    ):
        Study(**aligned).plan()


def test_a_prior_brings_its_control_where_a_claim_needs_it() -> None:
    interpolated = {"name": "interpolated", "weight": 0.25}
    plan = plan_of(rivals=[interpolated], controls="standard")
    name = "interpolated(weight=0.25)"
    assert labels(plan) == {(name, "none"): 2, (name, "permuted"): 2}
    (row, _) = [row for row in plan.rows() if row["role"] == "rival"]
    assert row["required_controls"] == ["permuted"]
    without = plan_of(rivals=[interpolated], controls=["shuffled"])
    assert labels(without) == {(name, "none"): 2}
    assert without.notes()[-1].startswith(
        "note: rival interpolated (all conditions): no control permuted; a gain there cannot be "
        "called specific"
    )


def test_alignment_first_has_guides_states_and_their_controls() -> None:
    plan = plan_of(rivals=[{"name": "aligned_start", "steps": 3}], schedule={"alpha": [1.0, 2.0]})
    expected = {
        (ALIGNED.format(state), control): 2
        for state in ("trained", "untrained")
        for control in ("none", "shuffled", "input")
    }
    assert labels(plan) == expected
    for use in plan.uses:
        rival = use.condition.rival
        if rival is None:
            continue
        assert use.planned.num_steps == 2 * 39
        trained = "state=trained" in use.labels["treatment"]
        if use.labels["control"] != "input":
            assert len(use.planned.needs) == trained
    # One `input` stands in the places of both states.
    inputs = {use.planned for use in plan.uses
              if use.condition.rival is not None and use.labels["control"] == "input"}  # fmt: skip
    assert len(inputs) == 1


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of weights of the plan's target, in the current folder."""
    (condition,) = [p.condition for p in plan_of().conditions if p.role == "baseline"]
    monkeypatch.chdir(tmp_path)
    save_file(weights_of(condition), tmp_path / "start.safetensors")
    return tmp_path / "start.safetensors"


def weights_of(condition: Condition) -> dict[str, torch.Tensor]:
    return {name: tensor.detach() for name, tensor in started(condition).items()}


def test_the_content_of_a_file_is_the_condition(start: Path) -> None:
    spec: dict[str, Any] = {"rivals": [{"name": "from_weights", "path": start.name}]}

    def ids() -> set[str]:
        return {r.id for r in plan_of(**spec).replicates if r.role == "rival"}

    before = ids()
    assert labels(plan_of(**spec)) == {("from_weights(weights=start.safetensors)", "none"): 2}
    spec["rivals"][0]["path"] = str(start.rename("other.safetensors"))
    assert ids() == before
    changed = {name: tensor + 1 for name, tensor in read_file("other.safetensors").items()}
    save_file(changed, "other.safetensors")
    assert not ids() & before
    sources = Sources()
    Plan(read({**IMAGES, **spec}), sources=sources)
    (entry,) = pinned(spec, sources.pins)["rivals"]
    Path("other.safetensors").unlink()
    # The spec of a store is planned without the file.
    spec["rivals"] = [entry]
    assert len(ids()) == 2


@pytest.mark.parametrize(
    ("rival", "message"),
    [
        ("orthogonl", r"rivals\[0\].*unknown rival 'orthogonl'; did you mean 'orthogonal'"),
        ({"name": "structured", "kernl": 3}, "kernl"),
        (
            {"name": "structured", "kernel": 4},
            "rivals: rival structured: kernel is 4; allowed",
        ),
        ({"name": "structured", "layers": 9}, "layers is 9; allowed here: 1 to 4"),
        (
            {"name": "interpolated", "weight": 1.5},
            r"weight 1\.5.*allowed: weight above 0",
        ),
        (
            "mimetic",
            r"rivals: rival mimetic takes networks with self-atten.*target fcn on",
        ),
        ("from_weights", "needs weights: give path, a file, or replicate"),
        ({"name": "orthogonal", "gain": 0}, "gain is 0.0; allowed: finite and above 0"),
        ({"name": "orthogonal", "path": "a.safetensors"}, "path is for rivals that start from"),
        ({"name": "from_weights", "path": "no.safetensors"}, "rivals: from_weights: path: no file"),
        ({"name": "from_weights", "path": "a.txt"}, "path is 'a.txt'; allowed: .safetensors, .pt"),
        ({"name": "aligned_start", "steps": 78}, "steps is 78, and the training has 78 in all"),
    ],
)
def test_mistakes_are_named(rival: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        plan_of(rivals=[rival])


def test_a_target_that_a_rival_cannot_take_is_refused() -> None:
    with pytest.raises(SpecError, match=r"rival structured takes fully connected.*target rnn on"):
        plan_of(TOKENS, rivals=["structured"])
    plan_of(TOKENS, targets=["transformer"], rivals=["mimetic"])


def test_weights_of_another_shape_exit_with_2(start: Path, archprior: Archprior) -> None:
    Path("spec.yaml").write_text(
        "name: narrow\ntask: translated_digits\ntargets: [{name: fcn, width: 32}]\n"
        "guides: [resnet2d]\ntrain: {epochs: 1}\n"
        f"rivals: [{{name: from_weights, path: {start.name}}}]\n"
    )
    status, _, errors = archprior("validate", "spec.yaml")
    assert status == 2
    (line,) = errors.splitlines()
    assert "rivals: weights for fcn(width=32) on task 'translated_digits'" in line
    assert "start.safetensors" in line
    assert "'hidden.layer1.0.weight' 256x256, not 32x256" in line


def test_a_plan_warns_of_a_start_that_the_store_lacks(archprior: Archprior, tmp_path: Path) -> None:
    """A run is refused for it, and the study that gives the start may still be to come."""
    spec = IMAGES | {"rivals": [{"name": "from_weights", "replicate": "0" * 16}]}
    path = tmp_path / "spec.yaml"
    path.write_text(json.dumps(spec))
    status, out, _ = archprior("plan", str(path), "--store", str(tmp_path / "store"))
    assert status == 0
    assert f"warning: weights of replicate {'0' * 16}: the store has none that is finished" in out


def test_debugging_cuts_rivals_too() -> None:
    rivals = [{"name": "aligned_start", "steps": 30}, "orthogonal"]
    plan = Study(**{**IMAGES, "rivals": rivals}).plan(debug=True)
    steps = {p.num_steps for p in plan.conditions if p.condition.rival is not None}
    assert steps == {2}


def test_rivals_are_searched_with_the_budget_of_the_baseline() -> None:
    plan = planned(rivals=["orthogonal"])
    arms = Counter(
        row["treatment"] for row in plan.rows() if row["trial"] is not None and row["trial"] >= 0
    )
    assert arms["orthogonal"] == arms[None] > 0
