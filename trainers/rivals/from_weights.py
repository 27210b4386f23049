"""Rival `from_weights`: whether another network's weights would do as a start."""

from __future__ import annotations

from typing import ClassVar

from trainers.rivals.base import Rival, register


@register("from_weights")
class FromWeights(Rival):
    """Weights of the same architecture that were trained elsewhere: guided, meta-learned, released.

    (Subramaniam et al., arXiv 2410.20035, claim that guidance shows better starts; Bencomo et al.,
    arXiv 2502.20237, learn one.) A spec names a file (`path`) or a finished replicate of the store
    (`replicate`); `archprior export init` writes the weights that an alignment left as such a file.
    State beside parameters, such as that of batch norm, is taken over too.

    Deviations: all seeds begin alike, and differ in the order of data, augmentation and dropout,
    where the papers draw or learn a start for each run; nothing is learned here about starts. The
    compute that made the weights is in no cost and no budget, and comes on top of the baseline's.
    """

    takes_weights: ClassVar[bool] = True
