"""The primitives of a spiking graph: numpy only, one file per family."""

from stars.nodes.base import Array, Map, Neuron, Node, Shape
from stars.nodes.conv import Conv2d
from stars.nodes.integrator import Integrator
from stars.nodes.io import Input, Output
from stars.nodes.lif import LIF
from stars.nodes.linear import Affine
from stars.nodes.pool import AvgPool2d, SumPool2d
from stars.nodes.reshape import Flatten

__all__ = [
    "LIF",
    "Affine",
    "Array",
    "AvgPool2d",
    "Conv2d",
    "Flatten",
    "Input",
    "Integrator",
    "Map",
    "Neuron",
    "Node",
    "Output",
    "Shape",
    "SumPool2d",
]
