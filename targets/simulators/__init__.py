"""Targets that simulate a network in floating point on this machine.

Holds the reference, Norse, the trained student and ONNX Runtime.
Import from it: its modules; a module that is named in `targets.table` is a target.
It may import `targets.base`, `export` and `stars`.
Norse and the student need torch; importing their targets does not load it.
"""
