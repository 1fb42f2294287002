"""Targets: run an exported file, compare the spikes, estimate the energy.

Holds the protocol and table of targets, their inputs, and a folder for each purpose.
Import from it: its folders' modules; `table` finds a target by name.
It may import `export` and `stars`.
Importing it loads no torch.
"""
