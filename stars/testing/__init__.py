"""Public helpers for tests, here and in other packages.

Holds random graphs of every kind, random inputs, and assertions on traces.
Import from it: the names below.
It may import `stars.grid` and what that may import.
Nothing here imports torch.
"""

from stars.testing.assertions import (
    assert_same_membranes as assert_same_membranes,
    assert_same_spikes as assert_same_spikes,
)
from stars.testing.kinds import (
    ALL_KINDS as ALL_KINDS,
    FREE_KINDS as FREE_KINDS,
    KINDS as KINDS,
)
from stars.testing.random_graphs import (
    random_graph as random_graph,
    random_images as random_images,
    random_inputs as random_inputs,
)
