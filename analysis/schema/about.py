"""Descriptions of the rows of each table, in Markdown; links are those of a page in docs/."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_ABOUT: Mapping[str, str] = MappingProxyType({
    "replicates": """
One row per replicate that the study uses, baselines and guides too. In baseline and guide rows
the guidance columns are null; `target` is then the architecture that was trained.
""",
    "history": """
One row per replicate, step and metric.
""",
    "predictions": """
One row per replicate and test example (and time step, for sequences; and value, of tasks with
several). Tasks of classes fill `label` and `prediction`, tasks of values the columns that end in
`_value`.
""",
    "alignment": """
One row per replicate, moment, guide, guide tap, target tap and measure. After training, baselines
and guided targets are compared with the guides on the whole test split, so that what guidance
changed is the difference of two rows. What guided replicates and controls measured themselves
stands beside it.
""",
    "transfer": """
One row per guided, rival or control condition and test metric.
""",
    "pairs": """
One row per guided, rival or control condition, test metric and planned seed: the numbers whose
means are in `transfer`. A replicate that stands in several conditions, such as the control `labels`
of two guides, has a row in each here, and one in `replicates`.
""",
    "priors": """
One row per guide x task x target x distance x mapping x schedule x metric.
""",
    "trainability": """
One row per target, task, guide and test metric; target and guide are trained alone. Seeds pair.
""",
    "expectations": """
One row per rule and published number of the spec
([Expectations](writing-a-study.md#expectations)); written by `analyze`, where the spec has any,
and by `check`.
""",
    "consistency": """
One row per condition and kind of other side (`with`): does a network err on the same test
examples as its guide, more often than its accuracy makes it? Kappa is Cohen's, of right and wrong
answers (error consistency, Geirhos et al. 2020). Tasks of values, whose answers are neither right
nor wrong, have no rows. Guided and control conditions come first. For reference there follow

- each target's baselines with each guide (`guide` names it, `state` and `control` are null): the
  floor that `excess` is measured from;
- baselines with baselines, and guides with guides, of other seeds (`guide` is null): the ceiling
  that networks of one kind reach.

The guide is always its architecture trained alone, as in `guide_alone`, also in rows of an
untrained guide. A mixture has several guides and no kappa with them: `n` is 0 there. All columns
are means over the `n` seeds (with the guides or baselines of other seeds: of means over these), so
`kappa` is a mean of ratios, not the ratio of the means beside it.
Read it against its bounds and `kappa_matched`: guidance that changes the accuracy moves kappa by
that alone.

Intervals are the 2.5th and 97.5th percentile of 1,000 bootstrap draws (seed 20250706645) of test
examples, as in Klein et al. 2025 (arXiv 2507.06645): the same draw for all networks on a test
split, kappa at each seed in it, then the mean over seeds. So they hold for these n networks on
other test examples; how kappa varies over seeds is not in them. There is none where more than 5 %
of the draws have no value, or all examples are one cluster. Clusters of examples (`predictions`,
column `cluster`) are drawn whole: places of one digit, sequences with all their positions.
""",
    "dials": """
One row per setting of a dial and metric, written where a study has
[mixtures](writing-a-study.md#mixtures) of guides: a dial is of rows that differ in the weights of
the same guides alone, and a guide by itself is an end of the dials that it is part of.

The best of several settings, chosen on the seeds that it is shown for, looks better than it is. So
its place comes with an interval: seeds are drawn anew (9,999 bootstrap draws, percentiles), and
the best setting found in each draw. A mixture `beats_ends` if it beats every one of its guides
alone (intersection-union test: each at level .025, one-sided), after Bonferroni over the mixtures
of the dial; all guides must have been run alone.
""",
    "guide_similarity": """
One row per pair of guides of a task, state, distance, mapping and schedule, on the task's primary
metric: are guides that are alike inside also alike in what they hand over? With one guide there
is no row.

Alike in what they hand over: their rows of the transfer matrix, over the targets that all guides
of the group guided. Alike inside: their profiles over the taps of the targets' baselines, from
`alignment` (no guides are compared with each other directly). Mantel's test permutes guides; with
4 guides there are 24 permutations, and no p below .04. Clusters are of the rows of the transfer
matrix; their support is how often they come back when seeds are drawn anew (1,000 draws).
""",
    "predictors": """
One row per guided condition and predictor, on the task's primary metric: does an aligned, an
accurate or an otherwise distinguished guide teach best? Predictors, of the guide as it guides:

- `initial_alignment`: unbiased linear CKA of the guide's taps with those of the untrained target
  (`alignment`), mean over the pairs that guidance mapped;
- `label_similarity`: the same of the guide's taps with the one-hot labels of 500 test examples,
  mean over the guide's mapped taps;
- `guide_score`: the test metric of its architecture trained alone, also of an untrained guide;
- `effective_rank`: effective number of dimensions of its mapped taps (Roy and Vetterli 2007), on
  the examples of `label_similarity`.

Conditions that differ in guide and target alone are a group; the columns from `guides` on are of
the group. The unit is the guide: targets of a guide share what it is, so it is drawn, permuted and
left out with all of them. Each target's values are taken less their mean, since the question is
which guide suits a target, not which target gains most. Conditions of several guides are left out.

Few guides tell nothing: the interval says how little. Of 36 conditions that were independent, a
correlation of .5 would have a 95% interval of about +-.26; those of 6 guides x 6 targets are fewer
than 36, and 4 guides cannot have a p below .08. Such rows are `not established, too few guides`.
The p values are not adjusted for the number of predictors and groups.
""",
    "search": """
One row per trial of a [search](writing-a-study.md#search), written where the spec has one. The
first eleven columns and `role` describe the arm; what is searched is `tuned` in its labels, and
null in `alpha` and `stop_step`. Candidates and their guides are in no other table: the tuning
seeds are never reported. A point that was met twice has two rows and the same `replicate_ids`.
""",
    "budget_curve": """
One row per arm and number of trials b: the expected validation value of the best of b trials, as
in Dodge et al. (2019, [Show Your Work](https://arxiv.org/abs/1909.03004)). Where the curves of
two arms cross, which of them is better depends on the budget. Arms whose trials have not all
ended have none.
""",
    "confirm": """
One row per frozen rule and row of the spec; written by [`archprior
confirm`](writing-a-study.md#confirmation-at-fresh-seeds). Its metadata has the fresh seeds and
the digest of the statements.
""",
})  # fmt: skip


def about(table: str) -> str:
    """A description of the rows of a table. Raises KeyError for an unknown table."""
    return _ABOUT[table].strip()
