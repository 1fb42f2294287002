"""Torch modules of teacher and student, and the student's file.

Holds blueprints, layers, LIF neurons, grid layers and the conversion to a graph.
Import from it: `Outputs`, which losses and priors read, and its modules.
It may import `stars.runtime`, `stars.grid` and what these may import.
All of it needs torch.
"""

from stars.networks.outputs import Outputs as Outputs
