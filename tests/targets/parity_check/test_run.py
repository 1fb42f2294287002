"""run_parity: it counts every neuron-step and refuses wrong traces."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest
from traces import SPOILED, changed

from stars.errors import ConfigError, DataError, TargetError, UnsupportedNodeError
from stars.graph import reference
from stars.graph.nodes import LIF, Affine, Input, Integrator, Output
from stars.graph.spiking_graph import SpikingGraph
from stars.testing.random_graphs import random_graph, random_images, random_inputs
from targets import table
from targets.inputs import ArrayInputs, ImageInputs, inputs_for
from targets.parity_check.lane import Options
from targets.parity_check.report import SILENT, TOLERANCES
from targets.parity_check.run import run_parity, supporting_targets
from targets.simulators.reference import ReferenceTarget

# -- run_parity


@dataclasses.dataclass
class Fake:
    """The reference, with a changed trace."""

    name: str = "fake"
    chunk: int = 4
    spoil: object = staticmethod(lambda trace: trace)
    batches: list = dataclasses.field(default_factory=list)
    description = "a target for tests"

    def unavailable(self):
        return None

    def run(self, graph, inputs):
        self.batches.append(inputs.shape[1])
        return self.spoil(reference.run(graph, inputs))


def images_of(graph, count) -> ImageInputs:
    images = random_images(np.random.default_rng(3), count, graph.shapes[graph.input])
    return ImageInputs(images, graph.encoding, graph.steps)


def test_every_neuron_step_of_every_target_is_counted(graph):
    many, few = Fake("many", chunk=4), Fake("few", chunk=3)
    report = run_parity(
        graph,
        images_of(graph, 10),
        [ReferenceTarget(), many, few],
        Options(limits={"few": 5}),
    )
    assert report.ok
    images = {target.name: target.images for target in report.targets}
    assert images == {"reference": 10, "many": 10, "few": 5}
    for target in report.targets:
        assert target.neuron_steps == target.images * 4 * graph.neuron_count()
    assert few.batches == [3, 2]
    assert sum(many.batches) == 10
    assert max(many.batches) <= 4


def test_rates_are_the_references_and_the_outliers_are_named(graph):
    inputs = images_of(graph, 7)
    report = run_parity(graph, inputs, [Fake()])
    assert report.rates == pytest.approx(
        reference.run(graph, inputs.take(0, 7)).rates()
    )
    assert report.rates_outside == ()
    silent = SpikingGraph(
        {
            "in": Input((1,)),
            "never": LIF.uniform((1,), tau=2.0, v_threshold=9.0),
            "always": LIF.uniform((1,), tau=1.0, v_threshold=0.5),
            "w": Affine(np.zeros((1, 1)), np.ones(1)),
            "sum": Integrator(np.ones(1)),
            "out": Output(),
        },
        tuple(itertools.pairwise(("in", "never", "w", "always", "sum", "out"))),
        dt=1.0,
        steps=3,
    )
    report = run_parity(silent, ArrayInputs(np.ones((3, 2, 1))), [Fake()])
    assert report.rates == {"never": 0.0, "always": 1.0}
    assert report.rates_outside == ("never", "always")


def test_silence_is_said_loudly_and_is_no_failure(graph):
    silent = graph.replace_nodes(
        {
            name: LIF.uniform(graph.shapes[name], tau=2 * graph.dt, v_threshold=2.0**10)
            for name in graph.spiking
        }
    )
    report = run_parity(silent, images_of(silent, 3), [Fake()])
    assert report.ok
    assert report.warnings == report.to_json()["warnings"] == [SILENT]
    name = graph.spiking[-1]
    half = graph.replace_nodes({name: silent.nodes[name]})
    (warning,) = run_parity(half, images_of(half, 3), [Fake()]).warnings
    assert f"'{name}' never spiked" in warning


def test_any_target_can_be_what_the_others_are_compared_with(graph):
    def flip(trace):
        return changed(trace, "membranes", "readout", (0, 1, 0), 99.0)

    truth = Fake("truth", spoil=flip)
    report = run_parity(
        graph, images_of(graph, 3), [truth, Fake("other")], Options(against=truth)
    )
    assert report.against == "truth"
    same, other = report.targets
    assert same.ok
    assert (same.membrane_mismatches, other.ok) == (0, False)
    assert other.first_divergence.desired == 99.0


def test_what_records_too_little_cannot_be_compared_with(graph):
    def forget(trace):
        readout = {"readout": trace.membranes["readout"]}
        return dataclasses.replace(trace, membranes=readout)

    truth = Fake("truth", spoil=forget)
    with pytest.raises(TargetError, match="'truth' cannot serve as the reference"):
        run_parity(graph, images_of(graph, 3), [Fake()], Options(against=truth))


def test_a_mismatch_in_any_chunk_makes_the_report_not_ok(graph):
    def flip(trace):
        if trace.batch != 2:  # the last chunk
            return trace
        return changed(trace, "membranes", "readout", (0, 1, 0), 99.0)

    report = run_parity(graph, images_of(graph, 10), [Fake("good"), Fake(spoil=flip)])
    assert not report.ok
    good, bad = report.targets
    assert good.ok
    assert not bad.ok
    assert bad.membrane_mismatches == 1
    assert (bad.first_divergence.sample, bad.first_divergence.neuron) == (9, (0,))


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_a_target_that_returns_something_else_is_an_error(graph, spoil):
    with pytest.raises(TargetError, match="target 'fake': traces cannot be compared"):
        run_parity(graph, images_of(graph, 4), [Fake(spoil=spoil)])


def test_a_substitute_is_run_instead_and_fails(graph):
    weaker = graph.replace_nodes(
        {"block0_conv0": dataclasses.replace(graph.nodes["block0_conv0"], bias=[9] * 3)}
    )
    report = run_parity(
        graph,
        images_of(graph, 3),
        [ReferenceTarget(), Fake()],
        Options(substitutes={"reference": weaker}),
    )
    reference_, fake = report.targets
    assert fake.ok
    assert not reference_.ok
    assert reference_.substituted
    assert reference_.first_divergence.node == "block0_lif0"
    assert reference_.first_divergence.step == 0


def test_what_cannot_be_compared_is_refused_before_anything_runs(graph):
    inputs, target = images_of(graph, 3), Fake()
    other = random_graph(np.random.default_rng(1), kind="mlp")
    cases = [
        ({"targets": []}, "nothing to compare"),
        ({"targets": [ReferenceTarget()]}, "nothing to compare"),
        ({"targets": [target, target]}, "named twice"),
        ({"options": Options(limits={"lava": 3})}, r"no target \['lava'\] in this run"),
        ({"options": Options(limits={"fake": 0})}, "0 images; give 1 or more"),
        ({"inputs": images_of(graph, 0)}, "0 images; give 1 or more"),
        (
            {"options": Options(substitutes={"fake": other})},
            "substitute for target 'fake': has layers",
        ),
        ({"options": Options(forced_images=-1)}, "give 0 or more"),
    ]
    for changes, message in cases:
        arguments = {"inputs": inputs, "targets": [target]} | changes
        with pytest.raises(ConfigError, match=message):
            run_parity(graph, **arguments)
    assert target.batches == []


def test_the_report_is_plain_json(graph):
    def flip(trace):
        return changed(trace, "membranes", "readout", (0, 1, 0), 99.0)

    report = run_parity(graph, images_of(graph, 3), [Fake("a"), Fake("b", spoil=flip)])
    said = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert said["schema"] == "stars.parity/2"
    assert said["ok"] is False
    assert (said["images"], said["steps"]) == (3, 4)
    good, bad = said["targets"]
    for field in ("name", "images", "neuron_steps", "seconds"):
        assert field in good
    assert good["spike_mismatches"] == good["membrane_mismatches"] == 0
    assert good["first_divergence"] is None
    assert bad["first_divergence"]["node"] == "readout"
    assert bad["first_divergence"]["neuron"] == [0]
    assert set(said["rates"]) == set(graph.spiking)


def test_the_report_prints_as_its_verdict_a_table_and_the_first_divergence(graph):
    def flip(trace):
        return changed(trace, "membranes", "readout", (0, 1, 0), 99.0)

    targets = [Fake("a"), Fake("<b>", spoil=flip)]
    report = run_parity(graph, images_of(graph, 3), targets)
    verdict, head, good, bad, place = str(report).splitlines()
    assert verdict == "parity: FAILED for <b>"
    assert head.split("  ")[0] == "target"
    steps = f"{3 * 4 * graph.neuron_count():,}"
    assert good.split() == ["a", "exact", "3", steps, "0", "0"]
    assert bad.split() == ["<b>", "differs", "3", steps, "0", "1"]
    assert [place] == report.divergences()
    assert place.startswith("target '<b>' first diverges at layer 'readout', step 0")
    assert "<td>&lt;b&gt;</td><td>differs</td>" in report._repr_html_()


def test_a_dump_holds_every_trace(graph, tmp_path):
    inputs = images_of(graph, 6)
    run_parity(graph, inputs, [Fake(chunk=4)], dump=tmp_path)
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.npz"))
    assert files == [
        f"{who}/{start}.npz"
        for who in ("desired", "fake")
        for start in ("000000", "000004")
    ]
    desired = reference.run(graph, inputs.take(4, 6))
    with np.load(tmp_path / "fake" / "000004.npz") as found:
        for name, spikes in desired.spikes.items():
            assert (found[f"spikes/{name}"] == spikes).all()
        assert (found["membranes/readout"] == desired.membranes["readout"]).all()


def test_every_tolerance_is_zero_and_says_why():
    for row in TOLERANCES.values():
        assert (row.spikes, row.membranes) == (0, 0)
        assert row.reason


# -- inputs


def test_inputs_are_told_apart_by_their_type(graph):
    shape = graph.shapes[graph.input]
    images = inputs_for(graph, np.zeros((5, *shape), np.uint8), "x")
    assert len(images) == 5
    assert images.take(1, 4).shape == (4, 3, *shape)
    values = inputs_for(graph, np.zeros((4, 5, *shape)), "x")
    assert len(values) == 5
    assert values.take(1, 4).shape == (4, 3, *shape)


def test_inputs_of_another_kind_are_refused(graph):
    spikes = random_graph(np.random.default_rng(0), kind="mlp")
    shape = graph.shapes[graph.input]
    cases = [
        (
            spikes,
            np.zeros((5, *spikes.shapes["input"]), np.uint8),
            "does not state an encoding",
        ),
        (graph, np.zeros((5, 1, 2, 2), np.uint8), "images have shape"),
        (graph, np.zeros((4, 5, 1, 2, 2)), "expected uint8 images"),
        (graph, np.zeros((3, 5, *shape)), "3 steps, expected 4"),
        (graph, np.zeros((4, 5, *shape), "U1"), "expected uint8 images"),
    ]
    for which, values, message in cases:
        with pytest.raises(DataError, match=message):
            inputs_for(which, values, "x")


def test_a_target_that_refuses_the_network_is_left_out_with_its_reason():
    rng = np.random.default_rng(0)
    network = random_graph(rng, kind="recurrent")
    samples = ArrayInputs(random_inputs(rng, network, 2))
    targets = [table.load(name) for name in ("reference", "norse", "loihi")]
    takers, refused = supporting_targets(network, samples, targets)
    assert [target.name for target in takers] == ["reference", "norse"]
    assert list(refused) == ["loihi"]
    assert "'wait': 'Delay'" in refused["loihi"]


def test_a_network_that_no_target_takes_is_an_error_with_every_reason():
    rng = np.random.default_rng(0)
    network = random_graph(rng, kind="recurrent")
    samples = ArrayInputs(random_inputs(rng, network, 1))
    targets = [table.load(name) for name in ("reference", "loihi")]
    with pytest.raises(UnsupportedNodeError, match=r"supports.*\n  loihi: .*Delay"):
        supporting_targets(network, samples, targets)
