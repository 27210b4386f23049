"""Ids of replicates: what enters them, and what does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from tests.helpers.conditions import changed, guidance_of, term_of
from trainers import controls
from trainers.architectures import ARCHITECTURES
from trainers.conditions import ids
from trainers.conditions.cache_form import Cache
from trainers.conditions.condition import Condition
from trainers.conditions.encoding import from_json, to_json
from trainers.conditions.guidance import Guidance, Guide, Term
from trainers.conditions.ids import identity, replicate_id, replicate_ids
from trainers.conditions.schedule import AlignFirst, Schedule
from trainers.conditions.training import TrainSettings
from trainers.conditions.weights import Weights
from trainers.distances import DISTANCES
from trainers.mappings import MAPPINGS
from trainers.runtime.streams import Streams
from trainers.tasks import TASKS

MakeCondition = Callable[..., Condition]

#: Another valid value of each training setting.
OTHER_SETTINGS: dict[str, Any] = {
    "epochs": {"epochs": 6, "steps": None},
    "steps": {"steps": 7},
    "batch_size": {"batch_size": 21},
    "optimizer": {"optimizer": "sgd"},
    "lr": {"lr": 0.02},
    "weight_decay": {"weight_decay": 0.1},
    "lr_schedule": {"lr_schedule": "cosine"},
    "grad_clip": {"grad_clip": 1.0},
    "threads": {"threads": 2},
    "report_every": {"report_every": 3},
    "precision": {"precision": "bfloat16"},
    "compile": {"compile": True},
    "lr_step": {"lr_schedule": "step", "lr_step": 0.3},
}


OTHER_MAPPINGS: list[tuple[str, dict[str, Any]]] = [
    ("one_to_one", {}),
    ("last", {"k": 1}),
    ("last", {"k": 2}),
    ("all_pairs", {}),
    ("all_pairs", {"sharpness": 2}),
    ("nearest", {}),
    ("explicit", {"pairs": {"a": "b"}}),
    ("explicit", {"pairs": {"a": ["b", "c"]}}),
]

OTHER_SCHEDULES: dict[str, dict[str, Any]] = {
    "alpha": {"alpha": 2.0},
    "stop_step": {"stop_step": 3},
    "scale_alpha": {"every": 2, "scale_alpha": True},
    "decay": {"decay": "linear"},
    "cosine": {"decay": "cosine"},
    "warm_up": {"warm_up": 2},
    "balanced": {"balanced": True},
    "every": {"every": 2},
    "align_first": {"align_first": AlignFirst(steps=2)},
    "align_first noise": {"align_first": AlignFirst(steps=2, inputs="noise")},
    "align_first redrawn": {"align_first": AlignFirst(steps=2, inputs="redrawn")},
}
OTHER_CACHES = {
    "gram": Cache(form="gram", feature_bytes=1),
    "half": Cache(form="gram", feature_bytes=1, dtype="float16"),
    "live": Cache(form="live", feature_bytes=1),
}


def other_terms(guided: Condition) -> dict[str, Condition]:
    """A guided condition with other ways of being guided by the same guide; all differ."""
    distance = DISTANCES.component("linear_cka", unbiased=True)
    return {
        "distance": changed(guided, distance=distance),
        "rows": changed(guided, rows="positions"),
        "pooled": changed(guided, rows="pooled"),
        "reduction": changed(guided, reduction="mean"),
        **{
            f"schedule {name}": changed(guided, schedule=Schedule(**changes))
            for name, changes in OTHER_SCHEDULES.items()
        },
        **{
            f"mapping {name} {options}": changed(
                guided, mapping=MAPPINGS.component(name, **options)
            )
            for name, options in OTHER_MAPPINGS
        },
        **{f"cache {name}": changed(guided, cache=cache) for name, cache in OTHER_CACHES.items()},
    }


def variants(make: MakeCondition) -> dict[str, Condition]:
    """Conditions that all differ from each other in what they compute."""
    base = make(control="none", state="trained")
    guide = base.guidance.term.guide if base.guidance else None
    assert isinstance(guide, Guide)
    cnn = ARCHITECTURES.component("resnet2d", width=3, blocks=1)
    other_train = replace(guide, train=TrainSettings(steps=3, batch_size=20))
    return {
        "baseline": make(),
        "guide": base.guide_conditions[0] or base,
        "guided": base,
        "guide architecture": changed(base, guide=replace(guide, architecture=cnn)),
        "guide_train": changed(base, guide=other_train),
        "untrained": make(control="none", state="untrained"),
        "batch_norm": make(control="none", state="untrained", batch_norm="eval"),
        "batch_norm batch": make(control="none", batch_norm="batch"),
        "shuffled": make(control="shuffled", state="trained"),
        "shuffled untrained": make(control="shuffled"),
        "noise": make(control="noise"),
        "input": make(control="input", state=None),
        "self": make(control="self"),
        "uniform": make(control="uniform", state=None),
        **other_terms(base),
        "data": replace(base, data="per_seed"),
        "data of a baseline": replace(make(), data="per_seed"),
        "task": replace(base, task=TASKS.component("translated_digits", places=2)),
        "other task": replace(base, task=TASKS.component("mnist1d")),
        "target": replace(base, target=ARCHITECTURES.component("fcn", depth=3)),
        "other target": replace(base, target=ARCHITECTURES.component("resnet2d")),
        **{
            f"train.{name}": replace(base, train=replace(base.train, **changes))
            for name, changes in OTHER_SETTINGS.items()
        },
    }


def test_golden_ids() -> None:
    # Old stores stay valid only while these stay as they are. When numbers change on purpose, it
    # is RESULT_VERSION, or the version of a task or an architecture, that changes them.
    baseline = Condition(
        task=TASKS.component("mnist1d"),
        target=ARCHITECTURES.component("fcn"),
        train=TrainSettings(epochs=40),
    )
    guide = Guide(
        architecture=ARCHITECTURES.component("cnn1d"),
        state="trained",
        train=TrainSettings(epochs=20),
    )
    guided = replace(baseline, treatment=guidance_of(guide=guide))
    assert replicate_ids(baseline, range(2)) == ["33797efbb5600387", "0453f997ed5651b8"]
    assert replicate_id(guided, 0) == "0856147a028c9d0e"


def test_ids_of_different_runs_differ(make: MakeCondition) -> None:
    named = {
        f"{name}, seed {seed}": replicate_id(condition, seed)
        for name, condition in variants(make).items()
        for seed in (0, 1, 11)
    }
    assert len(set(named.values())) == len(named)
    assert all(len(i) == 16 and int(i, 16) >= 0 for i in named.values())


def test_every_field_enters(make: MakeCondition) -> None:
    content = identity(make(control="none", state="trained"))
    # What came later enters where it is not at its default.
    later = {"compile", "lr_step"}
    assert content["train"].keys() == {field.name for field in fields(TrainSettings)} - later
    assert content["train"].keys() == OTHER_SETTINGS.keys() - later
    guidance = content["guidance"]
    later = {"terms", "guide_inputs", "cache", "weight", "shown_at"}
    both = {field.name for kind in (Guidance, Term) for field in fields(kind)}
    assert guidance.keys() == both - later
    assert guidance["guide"].keys() == {field.name for field in fields(Guide)} - {"weights"}
    # What came later enters where it is not at its default.
    assert guidance["schedule"].keys() == {"alpha", "stop_step"}


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        (TASKS, "translated_digits"),
        (ARCHITECTURES, "fcn"),
        (ARCHITECTURES, "resnet2d"),
        (DISTANCES, "linear_cka"),
    ],
)
@pytest.mark.usefixtures("registries")
def test_versions_enter(registry: Any, name: str, make: MakeCondition) -> None:
    condition = make(control="none")
    before = replicate_id(condition, 0)
    entry = registry[name]
    registry.register(name, version=entry.version + 1, later=entry.later, **entry.info)(
        entry.factory
    )
    assert replicate_id(condition, 0) != before


def test_result_version_enters(make: MakeCondition, monkeypatch: pytest.MonkeyPatch) -> None:
    before = replicate_id(make(), 0)
    monkeypatch.setattr(ids, "RESULT_VERSION", ids.RESULT_VERSION + 1)
    assert replicate_id(make(), 0) != before


def test_spelled_out_defaults_are_the_same_condition(make: MakeCondition) -> None:
    task = TASKS.component("translated_digits", places=3)
    assert task == TASKS.component("translated_digits")
    assert replicate_ids(make(), [4, 5]) == [replicate_id(make(), seed) for seed in (4, 5)]


def test_equal_conditions_have_equal_ids(make: MakeCondition) -> None:
    whole = make(control="none", alpha=1, lr=1, weight_decay=0, grad_clip=2)
    real = make(control="none", alpha=1.0, lr=1.0, weight_decay=0.0, grad_clip=2.0)
    assert whole == real
    assert replicate_id(whole, 0) == replicate_id(real, 0)


def test_input_control_does_not_depend_on_the_state(make: MakeCondition) -> None:
    with pytest.raises(AssertionError):
        controls.of(term_of(make(control="input", state="trained")))
    guide = term_of(make(control="input", state=None)).guide
    assert (guide.state, guide.batch_norm, guide.train) == (None,) * 3


def test_guide_condition(make: MakeCondition) -> None:
    trained = make(control="none", state="trained")
    (guide,) = trained.guide_conditions
    assert guide.role == "guide"
    assert guide.task == trained.task
    assert trained.guidance is not None
    assert guide.target == trained.guidance.term.guide.architecture
    assert guide.train == trained.guidance.term.guide.train
    # The same architecture on the same task is another run as a target: its streams differ.
    assert replicate_id(guide, 0) != replicate_id(replace(guide, is_guide=False), 0)
    assert make(control="none").guide_conditions == ()
    assert make().guide_conditions == ()


def test_round_trip(make: MakeCondition) -> None:
    for condition in variants(make).values():
        content = json.loads(json.dumps(to_json(condition)))
        assert from_json(content) == condition
        assert replicate_id(from_json(content), 3) == replicate_id(condition, 3)


def test_with_steps(make: MakeCondition) -> None:
    short = replace(make(control="none", state="trained"), train=TrainSettings(epochs=9))
    cut = short.with_steps(2)
    assert (cut.train.steps, cut.train.epochs) == (2, None)
    assert cut.guide_conditions
    assert cut.guide_conditions[0].train.steps == 2


def test_schedule_labels() -> None:
    assert Schedule().label == "alpha=1"
    assert Schedule(alpha=0.5, stop_step=200).label == "alpha=0.5,stop=200"


def test_settings_count_steps() -> None:
    epochs = TrainSettings(epochs=3, batch_size=40)
    assert epochs.epoch_steps(100) == 3
    assert (epochs.num_steps(100), epochs.report_steps(100)) == (9, 3)
    assert TrainSettings(steps=25).num_steps(100) == 25
    assert TrainSettings(steps=25).report_steps(None) == 2
    assert TrainSettings(steps=5).report_steps(None) == 1
    assert TrainSettings(steps=5, report_every=4).report_steps(100) == 4
    with pytest.raises(ValueError, match=r"epochs is 3.*give train\.steps"):
        epochs.num_steps(None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "epochs is None and steps is None"),
        ({"steps": 1, "epochs": 1}, "epochs is 1 and steps is 1"),
        ({"steps": 1, "optimizer": "adamax"}, "optimizer is adamax; allowed: adam, adamw, sgd"),
        ({"steps": 1, "lr_schedule": "cos"}, "lr_schedule is cos; allowed: constant, cosine"),
        ({"steps": 1, "precision": "float16"}, "precision is float16; allowed: float32, bfloat16"),
        ({"steps": 1, "lr_schedule": "step"}, "lr_schedule is step and lr_step is None"),
        ({"steps": 1, "lr_step": 0.3}, "lr_schedule is constant and lr_step is 0.3"),
        ({"steps": 1, "lr_schedule": "step", "lr_step": 1.5}, "lr_step is 1.5"),
        ({"steps": -1}, "steps is -1"),
        ({"epochs": 0}, "epochs is 0"),
        ({"steps": 1, "batch_size": 0}, "batch_size is 0"),
        ({"steps": 1, "report_every": 0}, "report_every is 0"),
        ({"steps": 1, "threads": 0}, "threads is 0"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"train: {message}"):
        TrainSettings(**changes)


def test_no_steps_are_refused_but_of_weights_alone(make: MakeCondition) -> None:
    with pytest.raises(ValueError, match="train: steps is 0; allowed: 1 or more"):
        make(steps=0)
    with pytest.raises(ValueError, match=r"train: steps is 3; .* 0 for pretrained weights alone"):
        replace(make(steps=3), is_guide=True, weights=Weights(content="torchvision/a/b", name="b"))
    trained = make(control="none", state="trained")
    assert trained.guidance is not None
    with pytest.raises(ValueError, match="guide: train: steps is 0; allowed: 1 or more"):
        replace(trained.guidance.term.guide, train=TrainSettings(steps=0))


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("rows", "token", "examples, pooled, positions, tokens"),
        ("reduction", "average", "sum, mean"),
    ],
)
def test_bad_guidance_is_refused(field: str, value: str, allowed: str, make: MakeCondition) -> None:
    with pytest.raises(ValueError, match=f"guidance: {field} is {value}; allowed: {allowed}"):
        changed(make(control="none"), **{field: value})


def test_bad_guides_are_refused(make: MakeCondition) -> None:
    with pytest.raises(ValueError, match="guide: state is new; allowed: trained, untrained"):
        make(control="none", state="new")
    with pytest.raises(ValueError, match="guide: batch_norm is frozen; allowed: calibrated, eval"):
        make(control="none", batch_norm="frozen")


def test_schedules_of_two_forms_are_refused() -> None:
    for changes in (
        {"stop_step": 3},
        {"decay": "linear"},
        {"warm_up": 2},
        {"balanced": True},
        {"every": 2},
    ):
        with pytest.raises(ValueError, match="align_first is guidance before training; it exclud"):
            Schedule(align_first=AlignFirst(steps=2), **changes)
    with pytest.raises(ValueError, match="decay is exponential; allowed: none, linear, cosine"):
        Schedule(decay="exponential")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"align_first: steps is 0; allowed: 1 or more"):
        AlignFirst(steps=0)
    with pytest.raises(ValueError, match=r"schedule: every is 0; allowed: 1 or more"):
        Schedule(every=0)
    with pytest.raises(ValueError, match="schedule: scale_alpha is true and every is 1; it mul"):
        Schedule(scale_alpha=True)


def test_guidance_in_every_step_has_the_id_of_old(make: MakeCondition) -> None:
    condition = make(control="none")
    same = changed(condition, schedule=Schedule(every=1, scale_alpha=False))
    assert replicate_id(same, 0) == replicate_id(condition, 0)


def test_streams(make: MakeCondition) -> None:
    task, fcn = TASKS.component("mnist1d"), ARCHITECTURES.component("fcn")
    base = Streams("target", task, fcn, 0)
    others = [
        Streams("guide", task, fcn, 0),
        Streams("target", TASKS.component("mnist1d", train_size=9), fcn, 0),
        Streams("target", task, ARCHITECTURES.component("fcn", depth=5), 0),
        Streams("target", task, fcn, 1),
    ]
    draws = {stream.seed(name, index) for stream in [base, *others] for name in ("init", "data")
             for index in (0, 1, 10)}  # fmt: skip
    assert len(draws) == 5 * 2 * 3
    assert base.seed("data", 3) == Streams("target", task, fcn, 0).seed("data", 3)
    # A literal: streams that change, change all results.
    assert base.seed("init") == 3016401416329867207
    assert 0 <= base.seed("init") < 2**63
    first, again = (base.generator("data", 3) for _ in range(2))
    assert first.initial_seed() == again.initial_seed() == base.seed("data", 3)
