"""MemmapSource, alone in its folder.

Lava's compiler executes every .py file beside a process to find its models. So a file
in this folder must have no effect when it is executed.
"""
