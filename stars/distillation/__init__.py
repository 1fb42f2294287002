"""The distillation loop: rounds, checkpoints, the image bank, and then the grid.

Holds the loop, the distiller of one round, optimizer, diagnostics and evaluation.
Import from it: its modules; `loop.distill` runs a whole distillation.
It may import everything in `stars` except `stars.benchmark`.
All of it needs torch.
"""
