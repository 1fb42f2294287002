"""Chips: whether a network fits one, and the placement of its neurons on cores.

Holds the check against a chip's limits, and the placement on its cores.
Import from it: `fit` and `placement`.
It may import `targets.hardware` and `stars.grid`.
Nothing here needs torch.
"""
