"""Lava, in a Python 3.10 environment of its own.

Holds that environment, the client that starts jobs in it, and their worker.
Import from it: `client` and `environment`; the worker is a program, not a module.
It may import `targets.loihi`, `targets.base`, `export` and `stars`.
Nothing here needs torch.
"""
