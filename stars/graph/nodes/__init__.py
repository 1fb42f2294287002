"""The primitives of a spiking graph: numpy only, one file per family."""

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
