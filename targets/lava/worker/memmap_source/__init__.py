"""The one process of our own, alone in its folder.

Lava's compiler executes every .py file beside a process to find its models, so nothing
that has an effect when executed may ever be put here.
"""
