"""Let what a reader's code does guide what it is given; run as a program, for it ends.

    python guided.py READER SEED RUNS FOLDER

atheris (libFuzzer) keeps the inputs that reach new code of ours, and changes those
further: half of the time as it knows, half as `changes.py` does. A NIR file would not
stay one: its input is a list of seeds, which `changes.py` makes a file of.

Ends with exit code 0 if for each of RUNS inputs the reader returned or raised a
StarsError, within 5 s and 2 GiB. What did not stands in FOLDER/found-*, and
FOLDER/counts.json tells how many were read and refused.
"""

from __future__ import annotations

import collections
import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["stars", "export", "targets", "tomllib"]):
    from changes import changed, nir_objects
    from readers import READERS

    from stars.errors import StarsError

SECONDS, MEGABYTES = 5, 2048  # that one input may take
LARGEST = 2**17  # bytes of an input
LINKS = 4  # changes after one another, of a file that is made of seeds

Mutator = Callable[[bytes, int, int], bytes]


def mutator(name: str) -> Mutator:
    """Changes an input by (content, largest size, seed)."""

    def mutate(content: bytes, largest: int, seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        if rng.random() < 0.5:
            return bytes(atheris.Mutate(content, largest))
        try:
            return changed(content, READERS[name].changes, rng)[:largest]
        except Exception:  # it is no file of this format any more
            return bytes(atheris.Mutate(content, largest))

    return mutate


def file_of_seeds(valid: bytes, seeds: bytes) -> bytes:
    """`valid` after a change by its format for every four bytes, and any at the end."""
    content = valid
    generators = [
        np.random.default_rng(int.from_bytes(seeds[i : i + 4]))
        for i in range(0, min(len(seeds), 4 * LINKS), 4)
    ]
    for rng in generators[:-1]:
        content = nir_objects(content, rng)
    for rng in generators[-1:]:
        content = changed(content, (nir_objects,), rng)
    return content


def main(name: str, seed: int, runs: int, folder: Path) -> None:
    warnings.simplefilter("ignore")
    os.chdir(folder)
    reader = READERS[name]
    path = folder / reader.file
    reader.make(path)
    reader.read(path)
    valid = path.read_bytes()
    corpus = folder / "corpus"
    corpus.mkdir()
    seeds = name == "nir"
    (corpus / "valid").write_bytes(b"\0\0\0\0" if seeds else valid)
    counts: collections.Counter[str] = collections.Counter()

    def tried(content: bytes) -> None:
        path.write_bytes(file_of_seeds(valid, content) if seeds else content)
        try:
            reader.read(path)
            counts["read"] += 1
        except StarsError as error:
            str(error).encode()
            counts["refused"] += 1
        if counts.total() % 1000 == 0:
            (folder / "counts.json").write_text(json.dumps(counts))

    options = {
        "seed": seed,
        "runs": runs,
        "timeout": SECONDS,
        "rss_limit_mb": MEGABYTES,
        "max_len": 4 * LINKS if seeds else LARGEST,
        "artifact_prefix": f"{folder}/found-",
        "mutate_depth": 2,  # changes on top of one another; more leave nothing valid
        "reduce_inputs": 0,
        "verbosity": 0,
    }
    arguments = [f"-{key}={value}" for key, value in options.items()]
    own = {} if seeds else {"custom_mutator": mutator(name)}
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], tried, **own)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
