"""parity(subject) and energy(subject): the calls behind the commands of these names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from export.onnx_proof import name_proof
from stars.errors import ConfigError
from stars.files.writing import check_writable, sha256
from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from stars.grid.certificate import certify
from stars.run_directory import Run
from targets.c.cross import MOST_IMAGES
from targets.energy_model.counts import count as counted, simulated
from targets.energy_model.report import EnergyReport, report
from targets.hardware.costs import TABLES, table_of
from targets.inputs import Inputs, first, inputs_for
from targets.keeping import write_result
from targets.lava.bundle import check_bundle
from targets.parity_check.lane import Options
from targets.parity_check.report import ParityReport
from targets.parity_check.run import choose_targets, run_parity, supporting_targets
from targets.report.read import read_manifest
from targets.simulators.onnx_check import check_metadata
from targets.simulators.onnx_runtime import OnnxTarget
from targets.subject import Subject

LAVA = ("lava-float", "lava-fixed")  # one sample at a time, hence fewer images
ENERGY_IMAGES = 1000

Progress = Callable[[str, int, int], None]  # target, images done, images in all


class HasPath(Protocol):
    """What has a run directory, such as a `stars.DistilledStudent`."""

    @property
    def path(self) -> Path:
        """The run directory."""


LAVA_NEURON_STEPS = 4_000_000  # minutes in Lava

Source = str | os.PathLike[str] | HasPath | SpikingGraph
Images = str | os.PathLike[str] | NDArray[Any] | None


def parity(  # noqa: PLR0913 - every argument but the first is optional
    subject: Source,
    images: Images = None,
    *,
    on: Sequence[str] = (),
    count: int | None = None,
    lava_images: int | None = None,
    forced_images: int = 32,
    against: str = "reference",
    onnx: Path | None = None,
    bundle: Path | None = None,
    substitutes: Mapping[str, Path] | None = None,
    dump: Path | None = None,
    dt: float | str | None = None,
    steps: int | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> ParityReport:
    """Compare every spike and membrane of every target with the reference.

    For a run directory the report is also written to its parity.json, unless a wider
    one is there: see `replace`.

    >>> import targets
    >>> report = targets.parity("student.nir", images, on=["norse"])  # doctest: +SKIP
    >>> assert report.ok  # doctest: +SKIP

    Args:
        subject: a NIR file, a run directory, a student of `stars.distill` or a graph.
        images: uint8 [N, C, H, W], an encoded input [T, N, *input shape], or a file of
            either; None takes the test images of the run.
        on: names of targets. None named: all that are available; of a NIR file, those
            that can express it, and the report says why others are left out.
        count: how many images; None takes all.
        lava_images: how many of them on Lava, which is slow. None takes 32, or fewer
            of a large network: as many as make 4 million neuron-steps.
        forced_images: how many of them also with each layer's inputs replaced by those
            of the reference; 0 for none.
        against: the target that the others are compared with.
        onnx: the ONNX file to run; None takes the run's own.
        bundle: the Lava bundle whose files are compared with the network; None takes
            the run's own.
        substitutes: by target, another file to run there, which must fail.
        dump: a folder for the traces of every target.
        dt: seconds a step, for a NIR file that does not say it.
        steps: T, for a NIR file that does not say it.
        replace: overwrite a wider result of the run; else it stays, and this one
            becomes NAME-last.json.
        progress: called after each chunk of images of each target.

    Raises:
        ConfigError: an unknown target, or there are no images.
        DataError: the images are not what the network takes.
        FormatError: a file is missing, foreign or damaged.
        MissingDependencyError: a named target is not installed.
        UnsupportedNodeError: no target can express the network.
        TargetError: a target failed.
    """
    found = writable(opened(subject, dt=dt, steps=steps))
    own = found.targets(onnx)
    chosen, skipped = choose_targets(on, own)
    (truth,), _ = choose_targets([against], own)
    samples = first(samples_of(found, images), count)
    if found.run is None and not on:
        chosen, refused = supporting_targets(found.graph, samples, chosen)
        skipped |= refused
    names = [one.name for one in chosen]
    if onnx is not None and "onnx" not in names:
        raise ConfigError(f"ONNX file '{onnx}': target 'onnx' is not among {names}")
    limited = names if against in LAVA else [name for name in LAVA if name in names]
    if lava_images is None:
        each = found.graph.neuron_count() * found.graph.steps
        lava_images = min(32, max(1, LAVA_NEURON_STEPS // each))
    limits = {name: most for name, most in MOST_IMAGES.items() if name in names}
    limits |= dict.fromkeys(limited, lava_images)
    files = substitutes or {}
    shipped = [
        target.path
        for target in chosen
        if isinstance(target, OnnxTarget) and target.path and target.name not in files
    ]
    for path in shipped:
        check_metadata(path, found.graph, any_steps=steps is not None)
    if bundle is None and found.run is not None and found.run.bundle_path.exists():
        bundle = found.run.bundle_path
    if bundle is not None:
        check_bundle(bundle, found.graph, any_steps=steps is not None)
    ran = [*chosen, truth]
    from_files = found.origin(samples, name_of(found, images), ran, files)
    options = Options(
        against=truth,
        forced_images=forced_images,
        limits=limits,
        substitutes={name: found.substitute(name, f) for name, f in files.items()},
    )
    result = run_parity(
        found.graph, samples, chosen, options, dump=dump, progress=progress
    ).completed(skipped, certify(found.graph).to_json(), from_files)
    found.check_unchanged(from_files)
    for path in shipped if result.ok and steps is None else ():
        check_metadata(path, found.graph, golden=True)
    if found.run is not None:
        path = write_result(found.run, result, replace=replace)
        kept = path.name == "parity.json" and steps is None
        if result.ok and kept and found.run.onnx_path in shipped:
            bind(found.run, path)
    return result


def energy(  # noqa: PLR0913 - every argument but the first is optional
    subject: Source,
    images: Images = None,
    *,
    count: int | None = None,
    tables: Sequence[str | Path] = (),
    dt: float | str | None = None,
    steps: int | None = None,
    replace: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> EnergyReport:
    """Count the operations of a network exactly and price them by published tables.

    For a run directory the report is also written to its energy.json, unless a wider
    one is there: see `replace`.

    >>> import targets
    >>> print(targets.energy("student.nir", images))  # doctest: +SKIP

    Args:
        subject: as of `parity`.
        images: as of `parity`.
        count: how many images; None takes the first 1,000, or all.
        tables: names of bundled cost tables, or TOML files of your own; none named: all
            bundled ones.
        dt: seconds a step, for a NIR file that does not say it.
        steps: T, for a NIR file that does not say it.
        replace: overwrite a wider result of the run; else it stays, and this one
            becomes NAME-last.json.
        progress: called with (images done, images in all).

    Raises:
        ConfigError: an unknown table, or there are no images.
        DataError: the images are not what the network takes.
        FormatError: a file is missing, foreign or damaged.
        UnsupportedNodeError: a node whose operations cannot be counted.
    """
    found = writable(opened(subject, dt=dt, steps=steps))
    priced = [table_of(str(name)) for name in dict.fromkeys(tables or TABLES)]
    available = samples_of(found, images)
    taken = first(
        available, min(ENERGY_IMAGES, len(available)) if count is None else count
    )
    from targets.energy_model.teacher import teacher_of  # noqa: PLC0415 - torch

    seen: list[str] = []
    from_file = found.origin(taken, name_of(found, images))
    chunks = simulated(found.graph, taken, progress or unseen)
    decisions: list[int] = []
    counts = counted(found.graph, watched(found.graph, chunks, seen, decisions))
    accuracy = None
    run = found.run
    if run is not None and steps is None and run.is_recorded(run.graph_path):
        accuracy = read_manifest(run.manifest_path).grid_accuracy
    teacher = teacher_of(found.run, taken)
    result = report(
        counts,
        priced,
        teacher,
        seen,
        accuracy=accuracy,
        origin=from_file,
        decisions=decisions,
    )
    found.check_unchanged(from_file)
    if found.run is not None:
        write_result(found.run, result, replace=replace)
    return result


def bind(run: Run, proof: Path) -> None:
    """Write the SHA-256 of a run's proof into its ONNX file."""
    recorded = run.is_recorded(run.onnx_path)
    name_proof(run.onnx_path, sha256(proof))
    if recorded:
        run.record_artifact(run.onnx_path)


def name_of(subject: Subject, images: Images) -> str:
    """The name of the inputs, for an origin."""
    if images is None and subject.run is not None:
        return str(subject.run.read_config().get("test_data"))
    return str(images) if isinstance(images, str | os.PathLike) else "an array"


def watched(
    graph: SpikingGraph,
    chunks: Iterable[tuple[Array, Trace]],
    warnings: list[str],
    decisions: list[int],
) -> Iterator[tuple[Array, Trace]]:
    """The chunks; adds their decisions, and a warning if inputs should be spikes."""
    for inputs, trace in chunks:
        decisions += trace.decisions().tolist()
        if (
            graph.encoding is None
            and not warnings
            and not np.isin(inputs, (0, 1)).all()
        ):
            warnings.append(
                "the inputs are not spikes (0 or 1), but their operations are counted"
                " as accumulates of spikes: a graded input needs multiplications"
            )
        yield inputs, trace


def opened(source: Source, *, dt: float | str | None, steps: int | None) -> Subject:
    """The network of any kind of subject."""
    if isinstance(source, SpikingGraph):
        return Subject(source, Path("graph"), None)
    place = source if isinstance(source, str | os.PathLike) else source.path
    return Subject.open(Path(place), dt=dt, steps=steps)


def writable(subject: Subject) -> Subject:
    """The subject, after a check that its run can be written to.

    Raises:
        DataError: it cannot.
    """
    if subject.run is not None:
        check_writable(subject.run.path)
    return subject


def samples_of(subject: Subject, images: Images) -> Inputs:
    """The inputs of any kind of images."""
    if images is None or isinstance(images, str | os.PathLike):
        return subject.inputs(None if images is None else Path(images))
    return inputs_for(subject.graph, images, "images")


def unseen(_done: int, _total: int) -> None:
    """A progress that shows nothing."""
