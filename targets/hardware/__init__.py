"""What hardware costs and can hold, as data: every number with its source.

Holds cost tables (energy for each operation) and limits of chips, as TOML files.
Import from it: `costs` and `limits`.
It may import `stars`.
Nothing here needs torch.
"""
