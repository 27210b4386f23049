"""The contract of distances: value, gradient, and treatment of features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainers import distances
from trainers.distances import DISTANCES, INVARIANCES, Distance
from trainers.registry import Component
from trainers.testing._features import (
    SHAPES,
    Tried,
    close,
    constants,
    same,
    transformed,
    value_and_gradient,
)
from trainers.testing.contract import (
    Contract,
    bad_values,
    component_of,
    refused,
    require,
)

Named = str | Component | Callable[..., Any]
CONTRACT: Contract[Tried] = Contract()
rule = CONTRACT.rule


def _is_fixed(subject: Tried) -> bool:
    """Whether it compares features as they are, of any widths."""
    return not (subject.factory.learns or subject.factory.of_logits)


def _is_invariant(subject: Tried) -> bool:
    return _is_fixed(subject) and bool(subject.info.get("invariances"))


def _ignores_the_mean(subject: Tried) -> bool:
    return "mean" in subject.info.get("invariances", ())


def check_distance(distance: Named, *, at_identity: float = 1e-5, rule: str | None = None) -> None:
    """Raise ContractError where a distance breaks a rule.

    `distance` is a registered name, its class, or a component with options; `rule` checks that one
    rule alone. `at_identity` is how far from 0 it may be for features of one network twice.
    Fewer rules apply to distances of answers, and to distances that learn.
    """
    component = component_of(DISTANCES, distance)
    subject = Tried(component, at_identity)
    CONTRACT.check(f"distance {DISTANCES.label(component)!r}", subject, rule)


def distance_rules(distance: Named) -> list[str]:
    """Names of the rules that `check_distance` checks."""
    return CONTRACT.names(Tried(component_of(DISTANCES, distance), 0.0))


@rule("whoever reads results needs to know what a distance holds against what")
def says_what_it_is(subject: Tried) -> None:
    """It has a docstring, a cost, a source, a bias, and invariances that are known."""
    require(DISTANCES[subject.component.name].summary, "it has no docstring")
    for name in ("cost", "source", "bias"):
        require(subject.info.get(name), f"register(..., {name}=...) is missing")
    unknown = set(subject.info.get("invariances", ("none given",))) - set(INVARIANCES)
    require(not unknown, f"invariances {unknown} are unknown; known: {', '.join(INVARIANCES)}")


@rule("training follows its gradient")
def value_is_finite_with_a_gradient(subject: Tried) -> None:
    """It is one number above 0 for features that differ, and its gradient is finite."""
    for distance, target, guide in subject.cases():
        value, gradient = value_and_gradient(distance, target, guide)
        shapes = f"features {tuple(target.shape)} and {tuple(guide.shape)}"
        require(value.shape == (), f"for {shapes} it is of shape {tuple(value.shape)}")
        require(value > 0 and value.isfinite(), f"for {shapes} it is {value.item():.4g}")
        finite = bool(gradient.isfinite().all())
        require(finite and gradient.any(), f"for {shapes} its gradient is 0 or not finite")


@rule("0 stands for perfect agreement", when=lambda subject: not subject.factory.learns)
def zero_at_identity(subject: Tried) -> None:
    """It is 0 for the same features on both sides, with a finite gradient."""
    for p in (6, 40):
        target, _ = subject.features(24, p, p)
        value, gradient = value_and_gradient(subject.make(p, p), target, target)
        near = abs(value.item()) <= subject.at_identity
        require(near, f"at identity it is {value.item():.4g}, not 0")
        require(gradient.isfinite().all(), "at identity its gradient is not finite")


@rule("training follows its gradient")
def gradient_is_that_of_the_value(subject: Tried) -> None:
    """Finite differences in float64 agree with its gradient."""
    for distance, target, guide in subject.cases((12, 3, 4), (8, 10, 9)):
        exact = guide.double()
        if isinstance(distance, nn.Module):
            # One that learns has parameters.
            distance.double()

        def value(x: Tensor, distance: Distance = distance, exact: Tensor = exact) -> Tensor:
            return distance(x, exact)

        start = target.double().requires_grad_()
        agree = torch.autograd.gradcheck(value, start, raise_exception=False)
        require(agree, "finite differences give another gradient")


@rule("training brings the target closer to the guide")
def a_step_comes_closer(subject: Tried) -> None:
    """A small step against the gradient makes it smaller."""
    for distance, target, guide in subject.cases():
        value, gradient = value_and_gradient(distance, target, guide)
        step = 1e-2 * target.norm() / gradient.norm()
        after = distance(target - step * gradient, guide)
        require(after < value, f"a step against its gradient takes it from {value} to {after}")


@rule("the guide is frozen")
def the_guide_gets_no_gradient(subject: Tried) -> None:
    """No gradient reaches the guide's features."""
    distance, target, guide = next(subject.cases())
    guide.requires_grad_()
    distance(target.requires_grad_(), guide).backward()  # type: ignore[no-untyped-call]
    require(guide.grad is None, "a gradient reaches the guide's features")


@rule("guides are cached, and the bits must not depend on it")
def a_prepared_guide_gives_the_same_bits(subject: Tried) -> None:
    """The result of `prepare` replaces the guide's features, and does not change with them."""
    for distance, target, guide in subject.cases():
        prepared = distance.prepare(guide)
        for other in (target, target.flip(0)):
            direct = value_and_gradient(distance, other, guide)
            reused = value_and_gradient(distance, other, prepared)
            require(same(direct, reused), "a prepared guide gives other bits than its features")
        if not isinstance(prepared, Tensor):
            expected = distance(target, guide.clone())
            guide.zero_()
            kept = torch.equal(distance(target, prepared), expected)
            require(kept, "a prepared guide changes with the features it was made from")


@rule("guides' features are inference tensors, which autograd does not save")
def inference_tensors_guide(subject: Tried) -> None:
    """Features of a guide that were made in inference mode give the same bits."""
    for distance, target, guide in subject.cases():
        expected = value_and_gradient(distance, target, guide)
        with torch.inference_mode():
            made = guide * 1
            inside = distance.prepare(made)
        for form in (made, inside, distance.prepare(made)):
            agree = same(expected, value_and_gradient(distance, target, form))
            require(agree, "features made in inference mode give other bits")


@rule("one target tap is mapped to several guide taps", when=_is_fixed)
def each_is_one_by_one(subject: Tried) -> None:
    """`each` of several guides, given twice too, is one distance after the other."""
    distance = subject.make(6, 9)
    parts = [subject.features(subject.rows(24, 6, 30), 6, q, seed=q) for q in (3, 30, 7)]
    target, guides = parts[0][0].requires_grad_(), [guide for _, guide in parts]
    guides.append(guides[0])
    weights = torch.tensor([0.5, -2.0, 3.0, 1.0])
    each = distance.each(target, [distance.prepare(guide) for guide in guides])
    single = torch.stack([distance(target, guide) for guide in guides])
    require(close(each, single, relative=1.3e-6, absolute=1e-5), f"{each} is not {single}")
    gradients = [torch.autograd.grad((weights * x).sum(), target)[0] for x in (each, single)]
    agree = close(*gradients, relative=1e-4, absolute=1e-5)
    require(agree, "gradients of `each` are not those of one after the other")


@rule("a step computes the distances of all taps together", when=_is_fixed)
def all_is_each(subject: Tried) -> None:
    """`all` of several targets and guides is `each` of them, under autocast too."""
    distance, n = subject.make(6, 9), subject.rows(24, 40, 40)
    targets = [subject.features(n, p, 9, seed=p)[0].requires_grad_() for p in (6, 40, 9)]
    with torch.inference_mode():
        guides = [subject.features(n, 6, q, seed=q)[1] * 1 for q in (9, 30, 40)]
    guide_indices = [[0], [1, 2, 0], [2]]
    prepared = [distance.prepare(guide) for guide in guides]
    each = torch.cat([distance.each(target, [prepared[index] for index in indices])
                      for target, indices in zip(targets, guide_indices, strict=True)])  # fmt: skip
    weights = torch.tensor([0.5, -2.0, 3.0, 1.0, 2.0])
    expected = torch.autograd.grad((weights * each).sum(), targets)
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            together = distance.all(targets, guides, guide_indices)
        require(together.shape == (5,), f"of 5 pairs it gives {tuple(together.shape)}")
        agree = close(together, each, relative=1e-6, absolute=1e-7)
        require(agree, f"together the pairs are {together.tolist()}, one by one {each.tolist()}")
        for one, two in zip(torch.autograd.grad((weights * together).sum(), targets), expected,
                            strict=True):  # fmt: skip
            require(close(one, two, relative=1e-5, absolute=1e-7), "gradients of `all` differ")


@rule("positions are compared one by one")
def leading_dimensions_are_averaged(subject: Tried) -> None:
    """For features (..., n, p) it is the mean over the leading dimensions."""
    for shape in SHAPES:
        for lead in ((3,), (2, 2)):
            pairs = [subject.features(*shape, seed=s) for s in range(torch.Size(lead).numel())]
            target, guide = (torch.stack(side) for side in zip(*pairs, strict=True))
            target = target.view(*lead, *target.shape[1:]).requires_grad_()
            distance = subject.make(target.shape[-1], guide.shape[-1])
            mean = distance.each(target, [distance.prepare(guide.view(*lead, *guide.shape[1:]))])
            singles = zip(target.flatten(0, -3), guide, strict=True)
            single = torch.stack([distance(*pair) for pair in singles]).mean()
            require(mean.shape == (1,), f"of one guide it gives {tuple(mean.shape)}")
            agree = close(mean[0], single, relative=1.3e-6, absolute=1e-5)
            require(agree, f"over {lead} positions it is {mean.item()}, their mean {single.item()}")
            gradients = [torch.autograd.grad(x.sum(), target)[0] for x in (mean, single)]
            require(close(*gradients, relative=1e-4, absolute=1e-6), "its gradients differ")


@rule("invariances say what two networks may differ in and still agree", when=_is_invariant)
def stated_invariances_hold(subject: Tried) -> None:
    """Each map of either side that it states to be invariant to leaves it as it is."""
    for distance, target, guide in subject.cases():
        expected = distance(target, guide)
        for kind in subject.info["invariances"]:
            for pair in ((transformed(kind, target), guide), (target, transformed(kind, guide))):
                change = float((distance(*pair) - expected).abs())
                require(change <= 2e-5, f"the map {kind!r} changes it by {change:.2g}")


@rule("features may lie far from 0", when=_ignores_the_mean)
def a_large_mean_costs_no_digits(subject: Tried) -> None:
    """A mean of 10,000 on float32 features leaves value and gradient those of float64."""
    for distance, target, guide in subject.cases():
        moved = (1e4 + target).double(), (1e4 + guide).double()
        value, gradient = value_and_gradient(distance, *(side.float() for side in moved))
        exact, exact_gradient = value_and_gradient(distance, *moved)
        error = abs(value.item() - exact.item())
        require(error <= 1e-6, f"with a large mean it is wrong by {error:.2g}")
        near = close(gradient.double(), exact_gradient, relative=1e-3, absolute=1e-6)
        require(near, "with a large mean its gradient is wrong")


@rule("a network that has collapsed must not look like its guide", when=_is_fixed)
def no_variance_is_one_without_a_gradient(subject: Tried) -> None:
    """It is 1 and its gradient 0 where one side does not vary."""
    for p in (6, 40):
        n = subject.rows(24, p, max(p, 9))
        varied, distance = torch.randn(n, 9), subject.make(p, 9)
        for kind, constant in constants(n, p).items():
            for target, guide in ((constant, varied), (varied, constant), (constant, constant)):
                value, gradient = value_and_gradient(distance, target, guide)
                require(value == 1, f"for {kind} it is {value.item():.4g}, not 1")
                require(not gradient.any(), f"for {kind} its gradient is not 0")


@rule("one position without variance says nothing of the others", when=_is_fixed)
def no_variance_leaves_other_positions(subject: Tried) -> None:
    """Only the positions without variance count as 1."""
    n = subject.rows(24, 6, 9)
    target, guide, distance = torch.randn(3, n, 6), torch.randn(3, n, 9), subject.make(6, 9)
    target[1] = 0
    value = distance.each(target, [distance.prepare(guide)])[0]
    single = torch.stack([distance(target[index], guide[index]) for index in range(3)])
    agree = single[1] == 1 and close(value, single.mean(), relative=1.3e-6, absolute=1e-5)
    require(agree, f"it is {value.item():.6g}, its positions {single.tolist()}")


@rule("smaller batches must be refused, not compared")
def fewest_rows(subject: Tried) -> None:
    """With `min_rows` rows it is finite, with one less it raises ValueError that says so."""
    made = subject.make(1, 1)
    n = subject.rows(made.min_rows, 1, 1)
    target, guide = torch.randn(n, 1), torch.randn(n, 1)
    value, gradient = value_and_gradient(made, target, guide)
    require(value.isfinite() and gradient.isfinite().all(), f"with {n} rows it is {value.item()}")
    few, words = made.min_rows - 1, f"n >= {made.min_rows} rows, got n = {made.min_rows - 1}"
    if few < 1:
        return
    short = torch.randn(few, 1)
    refused(lambda: made.prepare(short), words, f"a guide of {few} rows")
    refused(lambda: made.each(short[None], []), words, f"a target of {few} rows")
    refused(lambda: made(short, short), words, f"a batch of {few} rows")


@rule("rows are the same examples on both sides")
def rows_must_match(subject: Tried) -> None:
    """Other numbers of rows, and what is no matrix of features, raise ValueError."""
    distance, target, guide = next(subject.cases())
    refused(lambda: distance(target, guide[1:]), "same rows", "a guide of other rows")
    refused(lambda: distance(target[:, 0], guide[:, 0]), "features are", "a vector")


@rule("networks may compute in half precision")
def half_types_count_in_float32(subject: Tried) -> None:
    """Features of half types give what the same numbers give in float32."""
    for dtype in (torch.float16, torch.bfloat16):
        for distance, target, guide in subject.cases():
            halves = 10 * target.to(dtype), 10 * guide.to(dtype)
            value, gradient = value_and_gradient(distance, *halves)
            expected = value_and_gradient(distance, *(side.float() for side in halves))
            require(value.dtype == torch.float32, f"of {dtype} it is of type {value.dtype}")
            agree = same((value, gradient), (expected[0], expected[1].to(dtype)))
            require(agree, f"features of type {dtype} give other numbers than in float32")


@rule("networks may be trained under autocast")
def autocast_changes_nothing(subject: Tried) -> None:
    """Under autocast value and gradient have the same bits, of a prepared guide too."""
    for distance, target, guide in subject.cases():
        expected = value_and_gradient(distance, target, guide)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            prepared = distance.prepare(guide)
        for form in (guide, prepared):
            found = value_and_gradient(distance, target, form, autocast=True)
            require(same(expected, found), "under autocast it has other bits")


@rule("a run that diverges must end, not look aligned")
def bad_features_are_not_hidden(subject: Tried) -> None:
    """NaN and infinity on either side give NaN or infinity."""
    for bad in (float("nan"), float("inf")):
        for distance, target, guide in subject.cases():
            for side in (target.clone(), guide.clone()):
                side[3, 2] = bad
                pair = (side, guide) if side.shape == target.shape else (target, side)
                value = distance(*pair)
                require(not value.isfinite(), f"features that hold {bad} give {value.item():.4g}")


@rule("a mistake in a spec is said when it is planned")
def bad_options_are_refused(subject: Tried) -> None:
    """Sizes below 0, and what is none of the choices, raise ValueError that names it."""
    name = subject.component.name
    for option, bad in bad_values(DISTANCES, name):
        options = subject.component.kwargs | {option: bad}

        def build(options: dict[str, Any] = options) -> None:
            distances.create(name, **options)

        refused(build, option, f"{option}={bad!r}")
