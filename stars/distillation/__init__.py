"""The distillation loop: rounds, checkpoints, the image bank, and the grid at the end.

Holds the loop, the distiller of one round, optimizer, diagnostics and evaluation.
Import from it: its modules; `loop.distill` is the whole of it.
It may import everything in `stars` but `stars.benchmark`.
All of it needs torch.
"""
