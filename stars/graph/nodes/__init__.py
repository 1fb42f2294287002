"""The node types of a spiking graph: NumPy only, one file per family.

Holds neurons, maps, delays, and the input and output of a graph.
Import from it: the names in `__all__`.
It may import `stars.errors`.
Nothing here imports torch.
"""

from stars.graph.nodes.base import Array, Map, Neuron, Node, Shape, Stateful
from stars.graph.nodes.conv import Conv2d
from stars.graph.nodes.conv1d import Conv1d
from stars.graph.nodes.cuba import CubaLI, CubaLIF
from stars.graph.nodes.delay import Delay
from stars.graph.nodes.integrate_and_fire import IF
from stars.graph.nodes.integrator import Integrator
from stars.graph.nodes.io import Input, Output
from stars.graph.nodes.leaky_integrator import LI
from stars.graph.nodes.lif import LIF
from stars.graph.nodes.linear import Affine
from stars.graph.nodes.pool import AvgPool2d, SumPool2d
from stars.graph.nodes.reshape import Flatten
from stars.graph.nodes.scale import Scale
from stars.graph.nodes.threshold import Threshold

Weighted = Conv1d | Conv2d | Affine  # a map with the fields weight and bias

__all__ = [
    "IF",
    "LI",
    "LIF",
    "Affine",
    "Array",
    "AvgPool2d",
    "Conv1d",
    "Conv2d",
    "CubaLI",
    "CubaLIF",
    "Delay",
    "Flatten",
    "Input",
    "Integrator",
    "Map",
    "Neuron",
    "Node",
    "Output",
    "Scale",
    "Shape",
    "Stateful",
    "SumPool2d",
    "Threshold",
    "Weighted",
]
