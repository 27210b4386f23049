"""Error consistency: whether two networks err on the same test examples, beyond chance.

Geirhos et al. 2020 (Beyond accuracy, NeurIPS); intervals as in Klein et al. 2025 (arXiv
2507.06645).
"""
