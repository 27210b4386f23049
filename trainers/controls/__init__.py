"""Controls: sources of features that take the guide's place.

One control is one file of this package; `base` defines the interface.

Each control tests which property of a guide matters. `shuffled`: features of the right example.
`class_shuffled`: features of the example, beyond its class. `labels`: features, beyond the labels
that they encode. `input`: the guide's architecture, beyond the geometry of the data. `noise`: the
guide's input. `reversed`: the order of its layers. `self`: the guide's architecture, against a
frozen network of the target's own. `uniform`, for distillation: the guide's knowledge (equal logits
are label smoothing). `none` is the guide itself.
"""

from trainers.conditions.registries import CONTROLS
from trainers.controls.base import (
    Compared,
    Control,
    FeatureSource,
    SourceContext,
    build,
    check_features,
    of,
    pairs_of,
    register,
    works_like,
)
from trainers.controls.guided import canonical, compared, guided, refusal, standard

__all__ = [
    "CONTROLS",
    "Compared",
    "Control",
    "FeatureSource",
    "SourceContext",
    "build",
    "canonical",
    "check_features",
    "compared",
    "guided",
    "of",
    "pairs_of",
    "refusal",
    "register",
    "standard",
    "works_like",
]
