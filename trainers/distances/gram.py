"""Matching of activation Gram matrices, as in similarity-preserving knowledge distillation.

Tung & Mori 2019: the rows of the two matrices of products between examples,
`G = XX'` of the target and `H = YY'` of the guide, each over its norm, are compared by squares:

    distance = 1 / (2 n) * sum_i |G_i / |G_i| - H_i / |H_i||^2 = 1 - mean_i cos(G_i, H_i)

which is their loss times n / 2, so that it does not shrink as batches grow, and is 1 for orthogonal
rows. A row that is zero (a dead example) counts as similar only to itself.

It is not attention transfer (Zagoruyko & Komodakis 2017), which compares spatial maps of the size
of activations: distances here get features (rows, features) without spatial positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.distances import register
from trainers.distances._centring import centred_in_range, rounding
from trainers.distances._grams import gram
from trainers.distances._profiles import ProfileDistance


@register(
    "gram",
    invariances=("rotation", "scale"),
    cost="n^2 (p + q)",
    source="Tung & Mori 2019, Similarity-Preserving Knowledge Distillation",
    bias="biased: independent features of width w give .33 at n 64, w 128; .06 at n 64, w 1024, "
    "not 1; after a ReLU .05 and .006, because of the mean",
)
class Gram(ProfileDistance):
    """1 - mean cosine between the rows of both Gram matrices, which are not centred.

    Similarity-preserving distillation. Features after a ReLU are all non-negative, and so similar
    from the start: distances are small. Without variance on a side the distance is exactly 1 and
    the gradient exactly 0.
    """

    def profile(self, features: Tensor, noise: float = 0.0) -> Tensor:  # noqa: ARG002
        """The Gram matrix (..., n * n) of features (..., n, p), rows of norm 1 / sqrt(n)."""
        centred, constant = centred_in_range(features)
        rows = features if centred.scale is None else features * centred.scale
        norms = torch.linalg.vector_norm(rows.detach(), dim=-1)
        # Rows are scaled to a typical length of 1, so that their products do not overflow.
        typical = norms.square().mean(-1, keepdim=True).sqrt().masked_fill(constant[..., None], 1.0)
        dead = norms <= rounding(norms.dtype) * typical
        products = gram(rows / typical.unsqueeze(-1))
        row_norms = torch.linalg.vector_norm(products, dim=-1).masked_fill(dead, torch.inf)
        similar = products / row_norms.unsqueeze(-1) + torch.diag_embed(dead.to(products.dtype))
        weight = (~constant).to(products.dtype) * features.shape[-2] ** -0.5
        profile: Tensor = (similar * weight[..., None, None]).flatten(-2)
        return profile
