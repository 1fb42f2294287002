"""`stars parity`: run the exported file on every target and compare every layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import DtOption, InputsOption, RunArgument, StepsOption
from cli.output import JsonFlag, Output, stage_progress
from stars.errors import ConfigError

LAVA = ("lava-float", "lava-fixed")  # one sample at a time, hence fewer images


def parity(
    context: typer.Context,
    run: RunArgument,
    images: Annotated[
        int | None, typer.Option(help="How many images; default: all.")
    ] = None,
    lava_images: Annotated[int, typer.Option(help="At most, on Lava.")] = 32,
    target: Annotated[
        list[str] | None, typer.Option(help="Only this one. Repeatable.")
    ] = None,
    inputs: InputsOption = None,
    substitute: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Run this target on another file: must fail. Repeatable.",
        ),
    ] = None,
    against: Annotated[
        str, typer.Option(help="Compare with this target.")
    ] = "reference",
    onnx: Annotated[
        Path | None, typer.Option(help="The ONNX file; default: the run's own.")
    ] = None,
    forced_images: Annotated[
        int, typer.Option(help="How many images state-forced; 0: none.")
    ] = 32,
    dump: Annotated[
        Path | None, typer.Option(help="Folder for the traces of every target.")
    ] = None,
    dt: DtOption = None,
    steps: StepsOption = None,
    json: JsonFlag = False,
) -> None:
    """Compare every spike and membrane of every target with the reference.

    Exit code 3 if one differs; its layer, step and neuron are named. Of a .nir file,
    targets that cannot express it are left out with the reason, unless named.
    """
    from cli.parity_view import parity_text
    from stars.files.writing import write_json
    from stars.grid.certificate import certify
    from stars.runtime.allocator import keep_freed_memory
    from targets.inputs import first
    from targets.parity_check.lane import Options
    from targets.parity_check.run import choose_targets, run_parity, supporting_targets
    from targets.subject import Subject

    keep_freed_memory()
    output = Output.of(context, json=json)
    files = parse_substitutes(substitute or [])
    subject = Subject.open(run, dt=dt, steps=steps)
    own = subject.targets(onnx)
    targets, skipped = choose_targets(target or [], own)
    (truth,), _ = choose_targets([against], own)
    samples = first(subject.inputs(inputs), images)
    if subject.run is None and not target:
        targets, refused = supporting_targets(subject.graph, samples, targets)
        skipped |= refused
    names = [one.name for one in targets]
    if onnx is not None and "onnx" not in names:
        raise ConfigError(f"--onnx {onnx}: target 'onnx' is not among {names}")
    limited = names if against in LAVA else [name for name in LAVA if name in names]
    proof = certify(subject.graph).to_json()
    options = Options(
        against=truth,
        forced_images=forced_images,
        limits=dict.fromkeys(limited, lava_images),
        substitutes={name: subject.substitute(name, f) for name, f in files.items()},
    )
    with stage_progress(output) as progress:
        report = run_parity(
            subject.graph,
            samples,
            targets,
            options,
            dump=dump,
            progress=lambda name, done, of: progress(name, done, of, {}),
        )
    report = report.completed(skipped, proof)
    if subject.run is not None:
        write_json(subject.run.path / "parity.json", report.to_json())
    output.emit("stars.parity/1", report.to_json(), parity_text(report))
    if not report.ok:
        raise typer.Exit(3)


def parse_substitutes(given: list[str]) -> dict[str, Path]:
    """NAME=FILE, several times.

    Raises:
        ConfigError: something else.
    """
    files = {}
    for text in given:
        name, _, file = text.partition("=")
        if not (name and file):
            raise ConfigError(f"--substitute {text}: expected NAME=FILE")
        files[name] = Path(file)
    return files
