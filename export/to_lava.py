"""The Lava bundle: a folder with everything to deploy a network and to check it.

    student.nir     the graph
    plan.npz        its integers, see stars/grid/plan_file.py
    net.net         the same for Lava's own loader, if the format can express it
    golden.npz      inputs, and the reference's spikes and membranes for them
    plain_lava.py   builds the network in Lava without stars; a copy of the file here
    manifest.json   a description, and the SHA-256 of every other file
    README.md       how to run it

golden.npz holds `inputs` [T, B, *input shape], `spikes_<node>` of every spiking node
and `membranes_<readout>`, volts after each step, both [T, B, *shape].
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.golden import golden_inputs, golden_vectors
from export.to_netx import write as write_netx_file
from export.to_nir import write as write_nir
from stars.errors import DataError, UnsupportedNodeError
from stars.files.writing import sha256, write_json, write_text
from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.certificate import certify
from stars.grid.lowering import lower
from stars.grid.plan import IntegerPlan
from stars.grid.plan_file import write_plan

FORMAT = "stars.lava"
VERSION = 1
PLAIN_LAVA = Path(__file__).with_name("plain_lava.py")

README = """\
# A spiking network for Lava

Certificate for T = {steps}: {verdict}. (If it is not exact, the golden vectors are
still those of the float64 reference, and the assertions below may fail.)

These lines run it in plain Lava, bit-accurate to the chip, and compare it with the
reference. They need Python 3.10 and `pip install lava-nc==0.10.0 "numpy<2"`, but not
stars:

```python
import numpy as np

from plain_lava import Network

golden = np.load("golden.npz")
network = Network("plan.npz", golden["inputs"])
network.run()
for name in network.sinks:
    assert np.array_equal(network.spikes(name), golden[f"spikes_{{name}}"]), name
assert np.array_equal(network.membranes(), golden["membranes_{readout}"])
print("classes:", network.membranes()[-1].argmax(-1))
```

`plan.npz` holds the same network as integers for any other program. It is a NumPy
archive: `header` is JSON with the layers and connections, every exponent and every
delay; `bias_<i>`, and `weights_<c>`, `columns_<c>`, `rows_<c>` as compressed sparse
rows, are their numbers. The class `Processes` in `plain_lava.py` shows how to use them.

{netx}
"""

NETX = """\
`net.net` is the network for Lava's own loader:

```python
from lava.lib.dl.netx.hdf5 import Network

network = Network(
    "net.net", input_message_bits=8, reset_interval={steps}, reset_offset=1
)
```
"""


def write(
    graph: SpikingGraph, folder: Path, *, images: NDArray[np.uint8] | None = None
) -> dict[str, Any]:
    """Write the bundle of an on-grid graph to `folder`, all or nothing.

    Args:
        graph: on the grid.
        folder: created, or replaced if it holds a bundle already.
        images: for the golden vectors, [B, C, H, W]; the first eight are used. None
            draws eight inputs from a fixed seed.

    Returns:
        The manifest.

    Raises:
        GraphError: the graph is not on the grid; the message says where.
        LimitError: its integers do not fit the chip; holds every violation.
        UnsupportedNodeError: a node without integer form.
        DataError: the folder is no bundle or cannot be written, or the images do not
            fit the graph.
    """
    plan = lower(graph)  # first, so that nothing is written if it does not fit
    inputs = golden_inputs(graph, images)
    with replaced_folder(folder) as temporary:
        return fill(temporary, graph, plan, inputs)


def fill(
    folder: Path, graph: SpikingGraph, plan: IntegerPlan, inputs: Array
) -> dict[str, Any]:
    """Write the files of a bundle into an empty folder; returns the manifest.

    Args:
        folder: exists.
        graph: on the grid.
        plan: its integers.
        inputs: of the golden vectors, [T, B, *input shape].
    """
    write_nir(graph, folder / "student.nir")
    write_plan(folder / "plan.npz", plan)
    vectors: dict[str, Any] = golden_vectors(graph, inputs)
    np.savez_compressed(folder / "golden.npz", **vectors)
    refused = write_netx(graph, folder / "net.net")
    shutil.copyfile(PLAIN_LAVA, folder / PLAIN_LAVA.name)
    certificate = certify(graph)
    text = readme(graph, certificate.verdict, refused)
    write_text(folder / "README.md", text)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "stars": version("stars-snn"),
        "steps": graph.steps,
        "neurons": graph.neuron_count(),
        "golden_samples": inputs.shape[1],
        "netx_refused": refused,
        "certificate": certificate.to_json(),
        "files": {p.name: sha256(p) for p in sorted(folder.iterdir())},
    }
    write_json(folder / "manifest.json", manifest)
    return manifest


def write_netx(graph: SpikingGraph, path: Path) -> str | None:
    """Write the netx file; the reason if the format cannot express the graph."""
    try:
        write_netx_file(graph, path)
    except UnsupportedNodeError as error:
        return str(error)
    return None


def readme(graph: SpikingGraph, verdict: str, refused: str | None) -> str:
    """The text of the bundle's README."""
    netx = NETX.format(steps=graph.steps)
    if refused is not None:
        netx = f"There is no `net.net` for Lava's own loader, because {refused}."
    return README.format(
        steps=graph.steps, verdict=verdict, readout=graph.readout, netx=netx
    )


@contextmanager
def replaced_folder(
    folder: Path, *, marker: str = "plan.npz", kind: str = "a Lava bundle"
) -> Iterator[Path]:
    """A temporary folder that replaces `folder` at the end.

    Args:
        folder: new, empty, or one with the file `marker`.
        marker: name of a file that every such folder has.
        kind: what it holds; for the error.

    Raises:
        DataError: `folder` holds something else, or cannot be written.
    """
    check_replaceable(folder, marker, kind)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # The wrapping folder is private; the inner one has the usual permissions.
        wrapping = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise DataError(f"cannot write '{folder}': {error.strerror}") from error
    try:
        (wrapping / "new").mkdir()
        yield wrapping / "new"
        if folder.exists():
            folder.rename(wrapping / "old")
        (wrapping / "new").rename(folder)
    except OSError as error:
        raise DataError(f"cannot write '{folder}': {error}") from error
    finally:
        shutil.rmtree(wrapping, ignore_errors=True)


def check_replaceable(folder: Path, marker: str, kind: str) -> None:
    """Refuse to replace anything but a folder with a marker, or an empty one.

    Raises:
        DataError: it is a file, or a folder with other contents.
    """
    if not folder.exists():
        return
    ours = folder.is_dir() and ((folder / marker).exists() or not any(folder.iterdir()))
    if not ours:
        raise DataError(
            f"'{folder}' exists and is not {kind}; choose another folder, or remove it"
        )
