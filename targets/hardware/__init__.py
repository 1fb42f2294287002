"""Energy costs and limits of hardware as data, every number with its source.

Holds cost tables (energy per operation) and the limits of chips, as TOML files.
Import from it: `costs` and `limits`.
It may import `stars`.
Nothing here needs torch.
"""
