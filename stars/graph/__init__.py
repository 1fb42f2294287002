"""The network as data, and the definition of what it computes.

Holds the graph, its nodes, its delays, its input encodings, traces and the reference.
Import from it: `SpikingGraph`, `Trace`, the encodings, `reference`, and `nodes`.
It may import `stars.errors`, `stars.files` and `stars.config`.
Nothing here imports torch.
"""

from stars.graph.encoding import (
    DirectEncoding as DirectEncoding,
    Encoding as Encoding,
    LatencyEncoding as LatencyEncoding,
    PoissonEncoding as PoissonEncoding,
)
from stars.graph.spiking_graph import SpikingGraph as SpikingGraph
from stars.graph.trace import Trace as Trace
