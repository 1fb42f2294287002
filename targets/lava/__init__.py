"""Lava, in its own Python 3.10 environment.

Holds that environment, the client that starts jobs, and the worker that runs them.
Import from it: `client` and `environment`; the worker is a program, not a module.
It may import `targets.loihi`, `targets.base`, `export` and `stars`.
Nothing here needs torch.
"""
