"""Lava, in a Python 3.10 of its own: its environment, the client and the worker."""
