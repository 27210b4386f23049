"""Some thirty conditions that take every road through training, and what must come out of each.

`python -m tests.trainers.golden` writes golden.json anew: where results change on purpose, with the
version that says so. Ids are compared everywhere, losses up to rounding, and the digests of the
final weights on the type of CPU that they were recorded on.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import trainers
from tests.helpers.conditions import guidance_of
from tests.helpers.registries import restored
from trainers.architectures import ARCHITECTURES
from trainers.conditions.cache_form import Cache
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guide
from trainers.conditions.ids import replicate_id
from trainers.conditions.schedule import AlignFirst, Schedule
from trainers.conditions.training import TrainSettings
from trainers.distances import DISTANCES
from trainers.mappings import MAPPINGS
from trainers.tasks import TASKS
from trainers.tasks.translated_digits import TranslatedDigits

Options = dict[str, dict[str, Any]]

#: That of a pack of several workers.
SEED = 0
FILE = Path(__file__).with_suffix(".json")

NO_GUIDE = ("input", "labels", "uniform")
#: Task, target and guide of each kind.
KINDS: dict[str, Any] = {
    "image": (
        ("translated_digits", {"places": 1}),
        ("fcn", {"depth": 2, "width": 8, "norm": "batch"}),
        ("resnet2d", {"width": 2, "blocks": 1}),
    ),
    "token": (
        ("copy_paste", {"length": 2, "symbols": 3}),
        ("rnn", {"depth": 2, "width": 8, "embedding": 4}),
        ("transformer", {"depth": 2, "width": 8, "heads": 2, "feed_forward": 8}),
    ),
    "padded": (
        ("parity", {"max_length": 8, "train_size": 80}),
        ("transformer_encoder", {"depth": 1, "width": 8, "heads": 2, "feed_forward": 8}),
        ("parity_rnn", {"depth": 1, "width": 8, "embedding": 4}),
    ),
    "convolutional": (
        ("translated_digits", {"places": 1}),
        ("plain_convnet2d", {"width": 2, "blocks": 1}),
        ("resnet2d", {"width": 2, "blocks": 1}),
    ),
    "augmented": (
        ("golden_augmented", {}),
        ("fcn", {"depth": 2, "width": 8, "norm": "batch"}),
        ("resnet2d", {"width": 2, "blocks": 1}),
    ),
}


class Augmented(TranslatedDigits):
    """Digits in noise that is drawn afresh in each epoch."""

    def __init__(self) -> None:
        super().__init__(places=1)
        self.augmented = True

    def augment(self, example: Tensor, generator: torch.Generator) -> Tensor:
        return example + 0.1 * torch.randn(example.shape, generator=generator)


def condition(
    kind: str = "image",
    *,
    control: str | None = None,
    state: str | None = "untrained",
    batch_norm: str = "calibrated",
    target: Mapping[str, Any] | None = None,
    distance: Mapping[str, Any] | None = None,
    mapping: Mapping[str, Any] | None = None,
    schedule: Schedule | None = None,
    guidance: Mapping[str, Any] | None = None,
    **train: Any,
) -> Condition:
    """A baseline, or guided where a `control` is given (`none`: no control)."""
    (task, task_options), (network, options), (guide, guide_options) = KINDS[kind]
    settings: Any = {
        "steps": 8, "batch_size": 20, "report_every": 4, "lr": 0.02, "optimizer": "sgd",
    } | train  # fmt: skip
    content: dict[str, Any] = {
        "task": TASKS.component(task, **task_options),
        "target": ARCHITECTURES.component(network, **options | dict(target or {})),
        "train": TrainSettings(**settings),
    }
    if control is None:
        return Condition(**content)
    trained = state == "trained"
    itself = (network, options) if control in ("self", "labels") else (guide, guide_options)
    shown: Any = Guide(
        architecture=ARCHITECTURES.component(itself[0], **itself[1]),
        state=None if control in NO_GUIDE else state,  # type: ignore[arg-type]
        batch_norm=batch_norm if state == "untrained" and control not in NO_GUIDE
        else None,  # type: ignore[arg-type]
        train=TrainSettings(steps=4, batch_size=20, optimizer="sgd", lr=0.05) if trained else None,
    )  # fmt: skip
    parts: Any = {
        "distance": DISTANCES.component(**{"name": "linear_cka", **(distance or {})}),
        "mapping": MAPPINGS.component(**{"name": "evenly_spaced", **(mapping or {})}),
        "schedule": schedule or Schedule(),
        **(guidance or {}),
    }
    content["treatment"] = guidance_of(guide=shown, control=control, **parts)  # type: ignore[arg-type]
    return Condition(**content)


def _cache(form: str, dtype: str = "float32") -> dict[str, Any]:
    # Of a size that would be kept without a cache in the spec.
    return {"cache": Cache(form=form, feature_bytes=1000, dtype=dtype)}  # type: ignore[arg-type]


def _shown_at(*taps: str) -> dict[str, Any]:
    return {"guidance": {"shown_at": tuple((tap, 1.0) for tap in taps)}}


@contextmanager
def registered() -> Iterator[None]:
    """Inside, the task of `augmented` can be named."""
    with restored():
        TASKS.register("golden_augmented")(Augmented)
        yield


_GUIDED, _TOKEN = {"control": "none"}, {"kind": "token", "control": "none"}
_ANSWERS = {"distance": {"name": "distillation"}}
_TOKENS, _POSITIONS = {"guidance": {"rows": "tokens"}}, {"guidance": {"rows": "positions"}}

_TRAINING: Options = {
    "baseline": {},
    "baseline, adamw": {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.1, "kind": "token"},
    "dropout": {**_GUIDED, "target": {"dropout": 0.2}},
    "cosine, clipped": {"lr_schedule": "cosine", "grad_clip": 0.1, "kind": "token"},
}
_GUIDES: Options = {
    "untrained": _GUIDED,
    "trained": {**_GUIDED, "state": "trained"},
    "batch norm eval": {**_GUIDED, "batch_norm": "eval"},
    "batch norm batch": {**_GUIDED, "batch_norm": "batch"},
}
_CONTROLS: Options = {
    "control shuffled": {"control": "shuffled"},
    "control input": {"control": "input"},
    "control noise": {"control": "noise"},
    "control self": {"control": "self"},
    "control uniform": {"control": "uniform", **_ANSWERS},
    "control labels": {"control": "labels", **_shown_at("hidden.layer2")},
    "control labels, all": {
        "control": "labels",
        **_shown_at("hidden.layer1", "hidden.layer1", "hidden.layer2", "hidden.layer2"),
    },
    "control labels, tokens": {"kind": "token", "control": "labels", **_TOKENS},
    "control labels, padded": {"kind": "padded", "control": "labels", **_TOKENS},
    "control class shuffled": {"control": "class_shuffled", "state": "trained"},
    "control reversed": {"control": "reversed"},
    "control self, pairs": {
        "control": "self",
        **_shown_at("hidden.layer1", "hidden.layer1", "hidden.layer2", "hidden.layer2"),
    },
    "control input, cells": {"kind": "convolutional", "control": "input", **_TOKENS},
}
_MAPPINGS_AND_DISTANCES: Options = {
    "mapping reversed": {**_GUIDED, "mapping": {"name": "reversed"}},
    "distillation": {**_GUIDED, **_ANSWERS},
    "hint": {**_GUIDED, "distance": {"name": "hint"}, "lr": 1e-4},
    "rsa": {**_GUIDED, "distance": {"name": "rsa"}},
    "unbiased": {**_GUIDED, "distance": {"name": "linear_cka", "unbiased": True}},
    "mapping last": {**_GUIDED, "mapping": {"name": "last", "k": 2}},
    "mapping all pairs": {**_GUIDED, "mapping": {"name": "all_pairs", "sharpness": 1.0}},
    "mapping nearest": {**_GUIDED, "mapping": {"name": "nearest"}},
    "mean over pairs": {**_GUIDED, "guidance": {"reduction": "mean"}},
}
_SCHEDULES: Options = {
    "stop": {**_GUIDED, "schedule": Schedule(alpha=2.0, stop_step=5)},
    "decay, warm-up": {**_GUIDED, "schedule": Schedule(decay="cosine", warm_up=3)},
    "balanced": {**_GUIDED, "schedule": Schedule(balanced=True, alpha=0.5)},
    "align first": {**_GUIDED, "schedule": Schedule(align_first=AlignFirst(steps=4))},
    "align on noise": {
        **_GUIDED, "schedule": Schedule(align_first=AlignFirst(steps=4, inputs="noise")),
    },
}  # fmt: skip
_CACHES: Options = {
    "cache gram": {**_GUIDED, "guidance": _cache("gram")},
    "cache half": {**_GUIDED, "guidance": _cache("features", "float16")},
    "cache live": {**_GUIDED, "guidance": _cache("live")},
}
_ROWS_INPUTS_AND_PRECISION: Options = {
    "streamed tokens": {**_TOKEN, **_TOKENS},
    "streamed positions": {**_TOKEN, **_POSITIONS},
    "streamed input": {**_TOKEN, "control": "input", **_TOKENS},
    "padded tokens": {"kind": "padded", "control": "none", **_TOKENS},
    "augmented": {"kind": "augmented", "control": "none"},
    "augmented apart": {
        "kind": "augmented", "control": "none",
        "guidance": {"guide_inputs": "other_augmentation"},
    },
    "pooled": {**_GUIDED, "guidance": {"rows": "pooled"}},
    "bfloat16": {**_GUIDED, "precision": "bfloat16"},
}  # fmt: skip
#: Arguments of `condition` by name.
OPTIONS = (
    _TRAINING | _GUIDES | _CONTROLS | _MAPPINGS_AND_DISTANCES | _SCHEDULES | _CACHES
    | _ROWS_INPUTS_AND_PRECISION
)  # fmt: skip


#: Of this one also what two workers make of it.
TWO_WORKERS = "trained"


def outcome(each: Condition, store: str | None = None) -> dict[str, Any]:
    """What came of a condition: its id, last losses, and a digest of the final weights."""
    with tempfile.TemporaryDirectory() as folder:
        result = trainers.train(
            each, seed=SEED, store=store or folder, report=lambda _payload: None
        )
    last = {point.metric: point.value for point in result.history.points}
    return {
        "id": replicate_id(each, SEED),
        "train/loss": last["train/loss"],
        "test/loss": result.metrics["loss"],
        "weights": digest(result.network),
    }


def digest(network: nn.Module) -> str:
    """First 16 hex digits of the SHA-256 of all weights and buffers."""
    content = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        content.update(name.encode())
        content.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]


def machine() -> dict[str, str]:
    """What the last bits depend on."""
    return {"cpu": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__}


def of_two_workers(store: str) -> dict[str, Any] | None:
    """As `outcome`, of the condition `trained` by the two processes of a group, the first's."""
    from tests.helpers.worker_trials import train_trial

    each = condition(**OPTIONS[TWO_WORKERS])
    assert each.guide_conditions
    train_trial(store, [each.guide_conditions[0], each])
    return outcome(each, store)


def _of_a_group() -> dict[str, Any]:
    from tests.helpers.process_group import ProcessGroup

    group = ProcessGroup(2)
    with tempfile.TemporaryDirectory() as store:
        found: dict[str, Any] = group(of_two_workers, store)[0]
    group.close()
    return found


if __name__ == "__main__":
    with registered():
        recorded = {name: outcome(condition(**each)) for name, each in OPTIONS.items()}
    recorded["two workers"] = _of_a_group()
    FILE.write_text(json.dumps({"machine": machine(), "outcomes": recorded}, indent=1) + "\n")
