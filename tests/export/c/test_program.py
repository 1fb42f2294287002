"""A program's layout: types of sums, and memory that is reused."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from export.c.program import program_of
from stars.grid.lowering import lower
from stars.grid.plan import Connection
from stars.testing.kinds import KINDS
from stars.testing.random_graphs import random_graph


def plan_of(kind: str, seed: int = 3):
    return lower(random_graph(np.random.default_rng(seed), kind=kind))


@pytest.mark.parametrize("kind", KINDS)
def test_spikes_that_are_still_read_are_not_overwritten(kind):
    layers = program_of(plan_of(kind), {}).layers
    for i, layer in enumerate(layers):
        own = set(range(layer.slot, layer.slot + layer.size))
        for later in range(i + 1, len(layers)):
            readers = [k for k in range(later, len(layers)) if i in sources(layers[k])]
            other = layers[later]
            taken = set(range(other.slot, other.slot + other.size))
            assert not readers or not own & taken


def sources(layer):
    return {link.source for link in layer.links}


def test_spikes_of_a_long_chain_reuse_each_others_places():
    program = program_of(plan_of("vgg"), {})
    assert program.spikes < sum(layer.size for layer in program.layers)


@pytest.mark.parametrize(
    ("fan_in", "shifts", "kind"),
    [
        (258, (0,), "i16"),  # 258 * 127 < 2^15
        (259, (0,), "i32"),
        (258, (1, 1), "i32"),
        (128, (3, 3), "i16"),  # both are shifted alike, so sums are not
        (128, (0, 1), "i32"),  # sums of 128 * 127 and twice that
        (1032, (1,), "i32"),  # 1032 * 127 * 2 < 2^18
        (1033, (1,), "i64"),
    ],
)
def test_sums_have_the_narrowest_type_that_holds_them(fan_in, shifts, kind):
    plan = plan_of("mlp")
    name, target = plan.input_name, plan.populations[0]
    weights = csr_array(np.full((len(target.bias), fan_in), -127, np.int32))
    into = [Connection(name, target.name, weights, shift, 0) for shift in shifts]
    plan = replace(
        plan,
        input_shape=(fan_in,),
        input_low=np.zeros(fan_in, np.int64),
        input_high=np.ones(fan_in, np.int64),
        connections=(*into, *plan.connections[1:]),
    )
    layer = program_of(plan, {}).layers[0]
    assert (layer.sums, layer.scale) == (kind, 64 << min(shifts))
