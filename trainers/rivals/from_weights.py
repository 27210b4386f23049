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
    All seeds begin alike, and differ in the order of data, augmentation and dropout. State beside
    parameters, such as that of batch norm, is taken over too.
    """

    takes_weights: ClassVar[bool] = True
