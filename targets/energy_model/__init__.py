"""Energy: operations counted in traces, priced with published cost tables.

Holds the counts, the synapses, the estimate, networks without spikes, the teacher and
the report.
Import from it: `estimate` and `report`.
It may import `targets.parity_check`, `targets.hardware` and `stars`.
Only `teacher` needs torch.
"""
