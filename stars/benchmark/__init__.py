"""Sweeps: many distillations in one table.

Holds the cells of each sweep, the sweep itself, and the conversion of a teacher.
Import from it: its modules.
It may import everything else in `stars`.
Only `conversion` needs torch.
"""
