"""Parity: every spike and membrane of each target, compared with the reference.

Holds the run over all targets, one target's lane, the comparison of two traces, forced
runs and the report.
Import from it: `run` to compare targets, `report` for the result.
It may import the other targets, `export` and `stars`.
`comparison`, `forced` and `report` need no torch.
"""
