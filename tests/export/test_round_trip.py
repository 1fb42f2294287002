"""Law: read(write(g)) == g, bit for bit; foreign files: exact, or refused."""

import itertools
import shutil

import h5py
import nir
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from export.from_nir import from_nir, read
from export.to_nir import to_nir, write
from stars.errors import FormatError, UnsupportedNodeError
from stars.graph import reference
from stars.graph.encoding import DirectEncoding
from stars.graph.nodes import (
    LIF,
    Affine,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Integrator,
    Output,
    SumPool2d,
)
from stars.graph.spiking_graph import SpikingGraph

NAMES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1).filter(
        lambda name: name != "."
    ),
    min_size=9,
    max_size=9,
    unique=True,
)


def lif(rng, shape):
    v = rng.normal(size=(3, *shape))
    return LIF(
        tau=rng.uniform(1e-3, 1, shape),
        r=v[0],
        v_leak=v[1],
        v_threshold=np.abs(v[2]),
        v_reset=-np.abs(v[1]),
    )


def any_graph(seed: int, names: list[str]) -> SpikingGraph:
    """Every node type, a residual edge, odd kernels, numbers with all their bits."""
    rng = np.random.default_rng(seed)
    conv = Conv2d(
        rng.normal(size=(4, 1, 3, 5)),
        rng.normal(size=4),
        padding=(1, 2),
        groups=2,
    )
    shortcut = Conv2d(rng.normal(size=(4, 2, 1, 1)), rng.normal(size=4))
    image, one, two, body, pool, flat, dense, readout, out = names
    nodes = {
        out: Output(),
        readout: Integrator(rng.normal(size=3)),
        image: Input((2, 7, 9)),
        two: shortcut,
        one: conv,
        body: lif(rng, (4, 7, 9)),
        flat: Flatten(),
        pool: [SumPool2d((2, 3), (1, 2)), AvgPool2d((2, 3), (1, 2))][seed % 2],
        dense: Affine(rng.normal(size=(3, 96)), rng.normal(size=3)),
    }
    edges = [(image, one), (image, two), (one, body), (two, body), (body, pool)]
    edges += [(pool, flat), (flat, dense), (dense, readout), (readout, out)]
    encoding = DirectEncoding(tuple(rng.normal(size=2)), (0.1, 1 / 3), -4)
    return SpikingGraph(
        nodes=nodes,
        edges=tuple(edges),
        dt=float(rng.uniform(1e-6, 1)),
        steps=int(rng.integers(1, 99)),
        encoding=[None, encoding][seed % 3 > 0],
        metadata={"teacher": "a / b", "": "ä"} if seed % 5 else {},
    )


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), names=NAMES)
def test_what_was_written_is_read_back_bit_for_bit(tmp_path_factory, seed, names):
    graph = any_graph(seed, names)
    path = tmp_path_factory.mktemp("nir") / "net.nir"
    write(graph, path)
    again = read(path)
    assert again == graph
    assert list(again.nodes) == list(graph.nodes)
    assert again.order == graph.order
    assert again.edges == graph.edges
    for name, node in graph.nodes.items():
        for field, value in node.parameters().items():
            found = getattr(again.nodes[name], field)
            assert np.asarray(found).tobytes() == np.asarray(value).tobytes()
    shutil.rmtree(path.parent)


def test_in_memory_is_the_same_as_through_a_file():
    graph = any_graph(1, list("abcdefghi"))
    assert from_nir(to_nir(graph)) == graph


def test_the_read_graph_runs_the_same(tmp_path):
    graph = any_graph(1, list("abcdefghi"))
    write(graph, tmp_path / "net.nir")
    x = np.random.default_rng(0).normal(size=(3, 2, 2, 7, 9))
    one, two = reference.run(graph, x), reference.run(read(tmp_path / "net.nir"), x)
    assert all((one.membranes[n] == two.membranes[n]).all() for n in one.membranes)


# -- files that are not ours


def foreign(*nodes: nir.NIRNode) -> nir.NIRGraph:
    return nir.NIRGraph.from_list(*nodes, type_check=False)


def population(shape, **changes):
    values = {"tau": 0.01, "r": 2.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0}
    return nir.LIF(**{k: np.full(shape, v) for k, v in (values | changes).items()})


@pytest.mark.parametrize(
    ("given", "missing"),
    [({}, "--dt"), ({"dt": 1e-3}, "--steps"), ({"steps": 4}, "--dt")],
)
def test_what_a_foreign_file_does_not_say_must_be_passed(given, missing):
    with pytest.raises(FormatError, match=missing):
        from_nir(foreign(population((3,))), **given)


def test_a_linear_is_an_affine_without_bias():
    graph = from_nir(
        foreign(nir.Linear(np.ones((3, 2))), population((3,))), dt=1e-3, steps=2
    )
    assert graph.nodes["linear"] == Affine(np.ones((3, 2)), np.zeros(3))
    assert (graph.dt, graph.steps, graph.encoding) == (1e-3, 2, None)


def test_every_unknown_primitive_is_named_with_what_is_supported(tmp_path):
    path = tmp_path / "net.nir"
    nir.write(path, foreign(nir.Scale(np.ones(3)), population((3,))))
    with h5py.File(path, "a") as file:
        for name, kind in (("scale", "Dropout"), ("lif", "Izhikevich")):
            del file[f"node/nodes/{name}/type"]
            file[f"node/nodes/{name}/type"] = kind
    with pytest.raises(UnsupportedNodeError) as caught:
        read(path, dt=1e-3, steps=1)
    for word in ("net.nir", "Dropout", "Izhikevich", "Affine", "Linear", "LIF"):
        assert word in str(caught.value)


def test_a_primitive_that_nir_does_not_know_is_named(tmp_path):
    path = tmp_path / "net.nir"
    nir.write(path, foreign(population((3,))))
    with h5py.File(path, "a") as file:
        del file["node/nodes/lif/type"]
        file["node/nodes/lif/type"] = "Izhikevich"
    with pytest.raises(UnsupportedNodeError, match="'lif': 'Izhikevich'"):
        read(path, dt=1e-3, steps=1)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("kernel", [(1, 2), (3, 3), (4, 5), (2, 4)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_in_words_is_translated_exactly(kernel, dilation, padding):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=(3, 2, *kernel)), rng.normal(size=(1, 2, 17, 19))
    expected = torch.nn.functional.conv2d(
        torch.from_numpy(x),
        torch.from_numpy(weight),
        padding=padding,
        dilation=dilation,
    ).numpy()
    node = nir.Conv2d((17, 19), weight, 1, padding, dilation, 1, np.zeros(3))
    graph = from_nir(foreign(node, nir.I(np.ones(expected.shape[1:]))), dt=1.0, steps=1)
    found = graph.nodes["conv2d"].apply(x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def conv(**changes):
    values = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    return nir.Conv2d(
        None, np.ones((1, 1, 2, 2)), **(values | changes), bias=np.ones(1)
    )


WINDOW = {"kernel_size": np.array([2, 2]), "stride": np.array([2, 2])}
SQUARE = nir.Input(np.array([1, 4, 4]))
REFUSED = {
    "same with a stride": ([SQUARE, conv(padding="same", stride=2)], "needs stride 1"),
    "padded pooling": (
        [SQUARE, nir.SumPool2d(**WINDOW, padding=np.array([1, 1]))],
        "only padding 0 is supported",
    ),
    "flattening part": (
        [nir.Flatten({"input": np.array([1, 4, 4])})],
        "axes 1 to -1",
    ),
    "another input shape": (
        [
            SQUARE,
            nir.Conv2d((5, 5), np.ones((1, 1, 2, 2)), 1, 0, 1, 1, np.ones(1)),
            nir.I(np.ones((1, 3, 3))),
        ],
        r"states input shape \(5, 5\)",
    ),
    "same with a wide dilation": (
        [SQUARE, conv(padding="same", dilation=2**40)],
        "would pad 1099511627776 px",
    ),
    "an enormous padding": (
        [SQUARE, conv(padding=2**40), nir.I(np.ones((1, 3, 3)))],
        "has more than 268435456 values",
    ),
    "channels only": (
        [nir.Input(np.array([2, 4, 4])), population((2,))],
        r"node 'lif': input has shape \(2, 4, 4\)",
    ),
    "a matrix per channel": (
        [nir.Linear(np.ones((2, 3, 2)))],
        "weight has 3 axes, expected 2",
    ),
    "no leak at all": ([population((3,), tau=0.0)], "tau is 0.0 s"),
    "not a number": ([population((3,), v_leak=np.nan)], "v_leak holds NaN"),
}


@pytest.mark.parametrize(("nodes", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_a_node_cannot_keep_is_refused(nodes, message):
    names = ["input", *(type(node).__name__.lower() for node in nodes), "output"]
    nodes = [nir.Input(nodes[0].input_type), *nodes, nir.Output(np.array([1]))]
    if isinstance(nodes[1], nir.Input):
        del nodes[0], names[0]
    graph = nir.NIRGraph(
        dict(zip(names, nodes, strict=True)),
        list(itertools.pairwise(names)),
        type_check=False,
    )
    with pytest.raises(FormatError, match=message):
        from_nir(graph, dt=1e-3, steps=1)


def test_a_cycle_of_maps_alone_is_refused(tmp_path):
    graph = nir.NIRGraph(
        {
            "input": nir.Input(np.array([3])),
            "lif": population((3,)),
            "a": nir.Linear(np.ones((3, 3))),
            "b": nir.Linear(np.ones((3, 3))),
            "output": nir.Output(np.array([3])),
        },
        [("input", "a"), ("a", "b"), ("b", "a"), ("b", "lif"), ("lif", "output")],
    )
    nir.write(tmp_path / "net.nir", graph)
    with pytest.raises(FormatError, match="a cycle runs through"):
        read(tmp_path / "net.nir", dt=1e-3, steps=1)


# -- files that are damaged, foreign, or changed after the export


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "net.nir"
    write(any_graph(1, list("abcdefghi")), path)
    return path


def test_no_such_file(tmp_path):
    with pytest.raises(FormatError, match=r"gone\.nir: no such file"):
        read(tmp_path / "gone.nir")


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\x89HDF\r\n\x1a\n"])
def test_a_file_that_is_no_hdf5(tmp_path, content):
    (tmp_path / "net.nir").write_bytes(content)
    with pytest.raises(FormatError, match="net"):
        read(tmp_path / "net.nir")


def test_hdf5_that_is_no_nir(tmp_path):
    with h5py.File(tmp_path / "net.nir", "w") as file:
        file["weights"] = np.ones(3)
    with pytest.raises(FormatError, match="not a NIR graph, or damaged"):
        read(tmp_path / "net.nir")


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_truncated_file(written, fraction):
    content = written.read_bytes()
    written.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(FormatError, match="net"):
        read(written)


def change(path, key, value):
    with h5py.File(path, "a") as file:
        del file[f"node/{key}"]
        if value is not None:
            file[f"node/{key}"] = value


CHANGED = {
    "newer": ("metadata/stars_format", 5, "newer version"),
    "milliseconds": ("metadata/stars/time_unit", "ms", "expected 's'"),
    "soft reset": (
        "metadata/stars/reset",
        "subtract",
        "metadata 'reset' is 'subtract'",
    ),
    "no dt": ("metadata/stars/dt", None, "metadata 'dt' is missing"),
    "other dt": ("metadata/stars/dt", 0.5, "tau or dt was changed"),
    "steps in words": (
        "metadata/stars/steps",
        "four",
        "metadata 'steps' is missing or dam",
    ),
    "no steps left": ("metadata/stars/steps", 0, "steps is 0"),
    "a node too many": ("metadata/stars/order", '["a"]', "metadata 'order' names"),
    "no list": ("metadata/stars/order", "{}", "holds no list"),
    "no JSON": ("metadata/stars/text", "{", "metadata 'text' is missing or damaged"),
    "another encoding": (
        "metadata/stars/encoding/kind",
        "rank",
        "'rank'; known are direct, poisson, latency",
    ),
    "an encoding of numbers": ("metadata/stars/encoding", np.ones(3), "damaged"),
    "a lost weight": ("nodes/g/weight", None, "not a NIR graph, or damaged"),
    "a short bias": ("nodes/g/bias", np.ones(2), "bias has shape"),
}


@pytest.mark.parametrize(
    ("key", "value", "message"), CHANGED.values(), ids=CHANGED.keys()
)
def test_a_file_that_was_changed_after_the_export(written, key, value, message):
    change(written, key, value)
    with pytest.raises(FormatError, match=message):
        read(written)


def test_another_dt_than_the_files_is_refused_and_another_t_is_taken(written):
    with pytest.raises(FormatError, match=r"but 0\.5 s was passed"):
        read(written, dt=0.5)
    assert read(written, steps=3).steps == 3
