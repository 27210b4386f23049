"""Controls: what guides a step in the guide's place.

One control is one file of this package; `base` says what one is.

A control shows what in a guide matters: `shuffled`, whether the right example does; `input`,
whether its architecture does or only the geometry of the data; `noise`, whether its input does;
`self`, whether any frozen network would do (a guide of the target's own architecture); `uniform`,
for distillation, whether a guide that knows nothing would do (label smoothing). `none` is the guide
itself.
"""

from trainers.controls.base import (
    CONTROLS,
    Control,
    FeatureSource,
    SourceContext,
    build,
    of,
    pairs_of,
    register,
)
from trainers.controls.guided import applies, canonical, compared, guided

__all__ = [
    "CONTROLS",
    "Control",
    "FeatureSource",
    "SourceContext",
    "applies",
    "build",
    "canonical",
    "compared",
    "guided",
    "of",
    "pairs_of",
    "register",
]
