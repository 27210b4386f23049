"""The contract of tasks: splits, generators, loss and scores."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainers import tasks
from trainers.registry import Component
from trainers.tasks import TASKS, Split, Task, is_scored
from trainers.tasks.checks import (
    check_augmented,
    check_scores,
    check_split,
    check_splits,
    check_tally,
    clusters_of,
)
from trainers.testing.contract import Contract, bad_values, component_of, refused, require

Named = str | Component | Callable[..., Any]
Compared = Callable[[Tensor], Tensor]

#: Number of scored examples, and size of a drawn batch.
_SCORED, _DRAWN = 200, 16


@dataclass(frozen=True)
class _Loaded:
    """A task, and a function that selects the inputs `(N, *shape)` unique to their split."""

    component: Component
    compared: Compared

    @cached_property
    def task(self) -> Task:
        return tasks.build(self.component)

    @cached_property
    def again(self) -> tuple[Task, list[str]]:
        """The task loaded anew under other states of the global generators, and who used these.

        The second part names the libraries whose global generators loading has changed.
        """
        task, used = self._from_scratch()
        # A library may use one while it is imported.
        return self._from_scratch() if used else (task, used)

    def _from_scratch(self) -> tuple[Task, list[str]]:
        import numpy as np

        torch.manual_seed(7)
        np.random.seed(7)
        random.seed(7)
        before = _generator_states()
        task: Task = TASKS.make(self.component)
        for split in task.splits.values():
            _ = split.inputs[:2]
        after = _generator_states()
        return task, [name for name, state in before.items() if state != after[name]]

    @cached_property
    def answers(self) -> tuple[Tensor, Tensor]:
        """Random answers (batch, ..., num_outputs) for labels of the validation split."""
        labels = self.task.validation.labels
        scored = is_scored(labels).reshape(len(labels), -1).any(1)
        labels = labels[scored][:_SCORED]
        output, lead = self.task.output, labels.shape
        lead = lead if output.num_classes is not None else lead[:1]
        generator = torch.Generator().manual_seed(0)
        return torch.randn((*lead, output.num_outputs), generator=generator), labels

    @property
    def right(self) -> Tensor:
        """Answers that are right for the labels of `answers`."""
        _, labels = self.answers
        num_classes = self.task.output.num_classes
        if num_classes is None:
            return labels.clone()
        return 50.0 * functional.one_hot(labels.clamp_min(0), num_classes)

    def score(self, answers: Tensor, labels: Tensor) -> dict[str, float]:
        sums = check_tally(self.task, self.task.tally(answers.clone(), labels.clone()))
        return check_scores(self.task, self.task.score(sums))


CONTRACT: Contract[_Loaded] = Contract()
rule = CONTRACT.rule


def _is_streamed(subject: _Loaded) -> bool:
    return subject.task.num_train is None


def _redraws(subject: _Loaded) -> bool:
    return subject.task.redraws


def _is_augmented(subject: _Loaded) -> bool:
    return subject.task.augmented


def _has_unscored(subject: _Loaded) -> bool:
    return not bool(is_scored(subject.answers[1]).all())


def _has_classes(subject: _Loaded) -> bool:
    return subject.task.output.num_classes is not None


def check_task(
    task: Named, *, compared: Compared = lambda inputs: inputs, rule: str | None = None
) -> None:
    """Raise ContractError where a task breaks a rule; loads its data.

    `task` is a registered name, its class, or a component with options; `rule` checks that one rule
    alone. Where examples of a split may stand in another, `compared` gives those of its inputs
    `(N, *shape)` that may not.
    """
    component = component_of(TASKS, task)
    label = f"task {TASKS.label(component)!r}"
    CONTRACT.check(label, _Loaded(component, compared), rule)


def task_rules(task: Named) -> list[str]:
    """Names of the rules that `check_task` checks."""
    return CONTRACT.names(_Loaded(component_of(TASKS, task), lambda inputs: inputs))


@rule("lists show the first line of its docstring")
def says_what_it_is(subject: _Loaded) -> None:
    """It has a docstring."""
    require(TASKS[subject.component.name].summary, "it has no docstring")


@rule("networks are built, and costs told, from the specs alone")
def data_is_as_specified(subject: _Loaded) -> None:
    """Splits, samples and augmented inputs have the sizes, types and ranges of the specs."""
    task, _ = subject.again
    splits: Mapping[str, Split] = task.splits
    check_splits(task, splits)
    clusters_of(task)
    if task.num_train is None:
        require("train" not in splits, "it is streamed, and has a training split too")
        check_split(task, "sample", task.sample(_DRAWN, torch.Generator().manual_seed(0)))
    elif task.augmented:
        check_augmented(task)


@rule("a test score of examples that were trained on says nothing")
def splits_are_disjoint(subject: _Loaded) -> None:
    """No input of one split stands in another."""
    _check_disjoint(subject.task, subject.compared)


def _check_disjoint(task: Task, compared: Compared) -> None:
    seen = {
        name: {example.numpy().tobytes() for example in compared(split.inputs[:])}
        for name, split in task.splits.items()
    }
    for (first, ours), (second, theirs) in combinations(seen.items(), 2):
        both = len(ours & theirs)
        require(not both, f"{both} inputs of split {first!r} stand in split {second!r} too")


@rule("replicates of one condition must have the same data")
def data_follows_from_the_options(subject: _Loaded) -> None:
    """Loaded again under other states of the global generators, the data is the same."""
    again, _ = subject.again
    facts = [(task.fingerprint, task.data) for task in (subject.task, again)]
    require(facts[0] == facts[1], "loaded twice, it has other data: use generators of its own")


@rule("with `data: per_seed`, intervals over seeds are over data too", when=_redraws)
def data_follows_from_its_seed(subject: _Loaded) -> None:
    """Each data seed gives splits of its own, always the same, disjoint and of the same sizes."""
    made = [tasks.build(subject.component, seed) for seed in (0, 1)]
    again: Task = TASKS.make(subject.component)
    again.data_seed = 0
    facts = [task.fingerprint for task in (subject.task, *made, again)]
    require(facts[1] == facts[3], "loaded twice by one data seed, it has other data")
    require(len(set(facts)) == 3, "two data seeds give the same data: draw it by draw_seed")
    for task in made:
        check_splits(task, task.splits)
        clusters_of(task)
        _check_disjoint(task, subject.compared)
        for name, split in subject.task.splits.items():
            sizes = len(split.labels), len(task.splits[name].labels)
            require(sizes[0] == sizes[1], f"split {name!r} has {sizes[0]} or {sizes[1]} examples")


@rule("the loop draws weights and batches from the global generators")
def loading_leaves_generators_alone(subject: _Loaded) -> None:
    """Loading data draws nothing from a global generator, and seeds none."""
    _, used = subject.again
    require(not used, f"it uses the global generator of {', '.join(used)}")


def _generator_states() -> dict[str, object]:
    import numpy as np

    numpy_state: Any = np.random.get_state()
    return {
        "Python": random.getstate(),
        "NumPy": bytes(numpy_state[1].tobytes()),
        "PyTorch": bytes(torch.get_rng_state().numpy().tobytes()),
    }


@rule("a run that was interrupted draws the same batches again", when=_is_streamed)
def samples_follow_from_the_generator(subject: _Loaded) -> None:
    """A batch is a function of the generator's state; the next one is another."""

    def draw(seed: int, disturbance: int) -> tuple[Split, Split]:
        torch.manual_seed(disturbance)
        generator = torch.Generator().manual_seed(seed)
        return subject.task.sample(_DRAWN, generator), subject.task.sample(_DRAWN, generator)

    (first, following), (again, _), (other, _) = draw(0, 1), draw(0, 2), draw(1, 1)
    require(len(first.inputs) == _DRAWN, f"of {_DRAWN} examples it draws {len(first.inputs)}")
    for one, two in zip(first, again, strict=True):
        require(torch.equal(one, two), "one state of the generator gives two batches")
    require(not torch.equal(first.inputs, other.inputs), "two seeds give the same batch")
    require(not torch.equal(first.inputs, following.inputs), "two batches in a row are the same")


@rule("workers and loaders augment the same examples alike", when=_is_augmented)
def augmentation_follows_from_the_generator(subject: _Loaded) -> None:
    """An augmented input is a function of the example and of the generator's state."""
    task = subject.task

    def augment(disturbance: int) -> Tensor:
        torch.manual_seed(disturbance)
        generator = torch.Generator().manual_seed(0)
        lazy = task.train.lazy
        if lazy is not None:
            return lazy.augmented(0, generator)
        return task.augment(task.train.inputs[:1].clone()[0], generator)

    require(torch.equal(augment(1), augment(2)), "one state of the generator gives two inputs")


@rule("a class without examples cannot be learnt or scored", when=_has_classes)
def every_class_occurs(subject: _Loaded) -> None:
    """Each class is a label somewhere, but where classes are the tokens of a vocabulary."""
    task = subject.task
    if task.output.num_classes == task.input.vocabulary:
        return
    found = {int(label) for split in task.splits.values() for label in torch.unique(split.labels)}
    absent = set(range(task.output.num_outputs)) - found
    require(not absent, f"no example has the labels {sorted(absent)}")


@rule("an update follows the gradient of one number")
def loss_trains(subject: _Loaded) -> None:
    """The loss is one finite number with a finite gradient, none at what is not scored."""
    answers, labels = subject.answers
    answers = answers.clone().requires_grad_()
    loss = subject.task.loss(answers * 1, labels.clone())
    require(not loss.dim() and loss.isfinite(), f"the loss is {loss.tolist()}")
    require(loss.requires_grad, "no gradient of the loss reaches the answers")
    (gradient,) = torch.autograd.grad(loss, answers)
    require(gradient.isfinite().all() and gradient.any(), "its gradient is 0 or not finite")
    require(not gradient[~is_scored(labels)].any(), "what is not scored has a gradient")


@rule("the table of predictions has them beside labels")
def predictions_are_like_labels(subject: _Loaded) -> None:
    """Predictions have the labels' shape and type; those of right answers are the labels."""
    (answers, labels), right = subject.answers, subject.right
    before = answers.clone()
    given, best = subject.task.predict(answers), subject.task.predict(right)
    like = given.shape == labels.shape and given.dtype == labels.dtype
    found, wanted = ((tuple(x.shape), x.dtype) for x in (given, labels))
    require(like, f"predictions are {found}, and labels {wanted}")
    scored = is_scored(labels)
    require(torch.equal(best[scored], labels[scored]), "predictions of right answers are wrong")
    require(torch.equal(answers, before), "predict changes the answers in place")


@rule("tables have a column of every metric that is declared, and of no other")
def scores_are_as_declared(subject: _Loaded) -> None:
    """`score` gives a finite number for each metric of `higher_is_better`."""
    scores = subject.score(*subject.answers)
    odd = [name for name, value in scores.items() if not torch.tensor(value).isfinite()]
    require(not odd, f"{', '.join(odd)} of random answers is not finite")


@rule("results say which of two networks is better")
def right_answers_score_best(subject: _Loaded) -> None:
    """Right answers are better than random ones in one metric, and worse in none."""
    answers, labels = subject.answers
    best, chance = subject.score(subject.right, labels), subject.score(answers, labels)
    signs = {name: 1 if up else -1 for name, up in subject.task.higher_is_better.items()}
    gains = {name: sign * (best[name] - chance[name]) for name, sign in signs.items()}
    found = ", ".join(f"{n} {best[n]:.4g} (random {chance[n]:.4g})" for n in gains)
    better = min(gains.values()) >= 0 and max(gains.values()) > 0
    require(better, f"right answers score {found}")


@rule("a failed run counts as a guess")
def chance_is_no_better_than_right(subject: _Loaded) -> None:
    """Right answers score no worse than `chance`, in every metric that has one."""
    best = subject.score(subject.right, subject.answers[1])
    for name, up in subject.task.higher_is_better.items():
        chance = subject.task.chance(name)
        if chance is not None:
            gain = best[name] - chance if up else chance - best[name]
            require(
                gain >= 0, f"chance of {name} is {chance:.4g}, and right answers {best[name]:.4g}"
            )


@rule("a split is scored in parts")
def scores_add_up(subject: _Loaded) -> None:
    """The tallies of two parts add up to that of both."""
    answers, labels = subject.answers
    whole = subject.task.tally(answers.clone(), labels.clone())
    half = len(labels) // 2
    parts = [subject.task.tally(answers[part].clone(), labels[part].clone())
             for part in (slice(half), slice(half, None))]  # fmt: skip
    for name, value in whole.items():
        total = sum(part[name] for part in parts)
        close = abs(total - value) <= 1e-6 * max(1.0, abs(value))
        require(close, f"{name} of two parts adds up to {total:.8g}, and is {value:.8g}")


@rule("padding and prompts are no answers", when=_has_unscored)
def unscored_positions_do_not_count(subject: _Loaded) -> None:
    """Other answers where the label is IGNORE leave all scores as they are."""
    answers, labels = subject.answers
    other = torch.where(is_scored(labels)[..., None], answers, -3.0 * answers.roll(1, -1))
    scores = subject.score(answers, labels), subject.score(other, labels)
    require(scores[0] == scores[1], "scores depend on answers at positions that are not scored")


@rule("a mistake in a spec is said when it is planned")
def bad_options_are_refused(subject: _Loaded) -> None:
    """Sizes below 0, and what is none of the choices, raise ValueError that names it."""
    name = subject.component.name
    for option, bad in bad_values(TASKS, name):
        options = subject.component.kwargs | {option: bad}

        def build(options: dict[str, Any] = options) -> None:
            TASKS.make(TASKS.component(name, **options))

        refused(build, option, f"{option}={bad!r}")
