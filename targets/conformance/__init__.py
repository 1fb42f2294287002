"""A conformance suite for NIR: cases with known spikes, and other tools as readers.

Holds the cases, the readings that the format leaves open, golden files, and the run of
readers in environments of their own.
Import from it: `cases.CASES`, `golden.write`, `run.run`.
It may import `export`, `stars` and what these may import.
Readers run in processes of their own; nothing here imports them.
"""
