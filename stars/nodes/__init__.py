"""The primitives of a spiking graph: numpy only, one file per family."""

from stars.nodes.base import Array, Map, Neuron, Node, Shape, Stateful
from stars.nodes.conv import Conv2d
from stars.nodes.conv1d import Conv1d
from stars.nodes.cuba import CubaLI, CubaLIF
from stars.nodes.delay import Delay
from stars.nodes.integrate_and_fire import IF
from stars.nodes.integrator import Integrator
from stars.nodes.io import Input, Output
from stars.nodes.leaky_integrator import LI
from stars.nodes.lif import LIF
from stars.nodes.linear import Affine
from stars.nodes.pool import AvgPool2d, SumPool2d
from stars.nodes.reshape import Flatten
from stars.nodes.scale import Scale
from stars.nodes.threshold import Threshold

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
