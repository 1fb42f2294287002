"""Reading and writing files, safely.

Holds atomic writing, JSON and TOML within limits, and NumPy files within limits.
Import from it: its modules `writing`, `json_toml` and `npz`.
It may import `stars.errors`.
Nothing here imports torch.
"""
