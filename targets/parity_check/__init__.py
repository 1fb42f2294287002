"""Parity: every spike and membrane of each target, held against the reference.

Holds the run over targets, one target's lane, the comparison, forced runs, the report.
Import from it: `run` to compare targets, `report` for the result.
It may import the other targets, `export` and `stars`.
`comparison`, `forced` and `report` need no torch.
"""
