"""Energy: operations counted in traces, and joules from cited cost tables.

Holds the counts, synapses, the estimate, alternatives to it, the teacher, the report.
Import from it: `estimate` and `report`.
It may import `targets.parity_check`, `targets.hardware` and `stars`.
Only `teacher` needs torch.
"""
