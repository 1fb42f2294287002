"""Fixtures that more than one test file needs, and what every test runs under."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from stars.data.images import LabeledImages
from stars.errors import MissingDependencyError
from targets.lava import environment

# The same examples on every machine and every day.
settings.register_profile("stars", derandomize=True, deadline=None)
settings.load_profile("stars")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest --target NAME` holds that one target against the reference."""
    parser.addoption("--target", help="run only the tests of this target")


def pytest_report_header(config: pytest.Config) -> str:
    """Which targets are held against the reference."""
    return f"target: {config.getoption('--target') or 'all'}"


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """With --target, keep the tests that have that target's name as a parameter."""
    wanted = config.getoption("--target")
    if wanted is None:
        return
    kept = [i for i in items if parameter(i, "name") == wanted]
    if not kept:
        raise pytest.UsageError(f"--target {wanted}: no test has this target")
    config.hook.pytest_deselected(items=[i for i in items if i not in kept])
    items[:] = kept


def parameter(item: pytest.Item, name: str) -> object:
    """A parameter of a test, None when it has none of that name."""
    call = getattr(item, "callspec", None)
    return None if call is None else call.params.get(name)


@pytest.fixture(scope="session")
def lava_python() -> Path:
    """The Python of Lava's environment; the test skips without it.

    With STARS_REQUIRE_LAVA=1, as in `make test`, it fails instead.
    """
    try:
        return environment.lava_python()
    except MissingDependencyError as error:
        if os.environ.get("STARS_REQUIRE_LAVA") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def parse() -> Callable[[list[str]], None]:
    """Parses the arguments of a `stars` command; raises what a user would be told."""
    import typer  # noqa: PLC0415 - most tests need no parser

    from cli.main import build_app  # noqa: PLC0415

    def without_effects(command: Any) -> Any:
        for sub in getattr(command, "commands", {}).values():
            if hasattr(sub, "commands"):
                without_effects(sub)
            else:
                sub.callback = None
        return command

    parser = without_effects(typer.main.get_command(build_app()))
    return lambda arguments: parser.main(args=arguments, standalone_mode=False)


@pytest.fixture(scope="session")
def striped() -> Callable[..., LabeledImages]:
    """Noisy images of 8 x 8 pixels in three classes: flat, rows and columns."""

    def make(count: int, channels: int = 1, seed: int = 0) -> LabeledImages:
        rng = np.random.default_rng(seed)
        stripe = np.arange(8) % 2 * 200
        rows = np.broadcast_to(stripe[:, None], (8, 8))
        classes = np.stack([np.full((8, 8), 100), rows, rows.T])
        labels = np.arange(count) % 3
        noise = rng.integers(0, 56, (count, channels, 8, 8))
        images = classes[labels][:, None] + noise
        return LabeledImages(images.astype(np.uint8), labels)

    return make


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Torch on one thread: the tests' networks are too small for two."""
    import torch  # noqa: PLC0415 - most tests need none

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def proved(tmp_path_factory) -> Path:
    """A run of a small network with its proof and its energy; copy it to change it."""
    from cli.main import main  # noqa: PLC0415 - most tests need no run
    from export.to_nir import write  # noqa: PLC0415
    from stars.config.models import DistillConfig  # noqa: PLC0415
    from stars.run_directory import Run  # noqa: PLC0415
    from stars.testing import random_graph, random_images  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("proved")
    graph = random_graph(np.random.default_rng(0), kind="residual")
    images = random_images(np.random.default_rng(1), 5, graph.shapes[graph.input])
    np.savez(folder / "test.npz", images=images, labels=np.zeros(5, np.int64))
    config = DistillConfig(test_data=str(folder / "test.npz"))
    run = Run.create(folder / "run", config)
    write(graph, run.graph_path)
    run.add_to_manifest({"teacher_accuracy": 0.9, "grid_accuracy": 0.8})
    run.record_artifact(run.graph_path)
    path = str(run.path)
    targets = ["--target", "loihi", "--target", "onnx"]
    assert main(["--quiet", "export", path, "--target", "onnx"]) == 0
    assert main(["--quiet", "parity", path, *targets]) == 0
    assert main(["--quiet", "energy", path, "--table", "horowitz45"]) == 0
    return run.path


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    """A machine without a C++ compiler."""
    from stars.networks import fused_lif  # noqa: PLC0415 - most tests need no torch
    from stars.runtime import compiling  # noqa: PLC0415 - most tests need no torch

    caches = (
        compiling.compiler_ready,
        compiling.kernel,
        fused_lif.forward_kernel,
        fused_lif.backward_kernel,
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture(scope="session")
def make_teacher(striped, one_thread):  # noqa: ARG001 - it acts by being there
    """Makes small random teachers whose BatchNorm has seen the striped images."""
    import torch  # noqa: PLC0415 - most tests need none

    from stars.networks.architectures import blueprint  # noqa: PLC0415
    from stars.networks.network import ann  # noqa: PLC0415
    from stars.teacher.spec import TeacherSpec  # noqa: PLC0415
    from stars.teacher.teacher import Teacher  # noqa: PLC0415

    def make(architecture: str = "resnet", channels: int = 1) -> Teacher:
        torch.manual_seed(0)
        options = {"widths": [4, 6], "depths": [1, 1]}
        shape = (channels, 8, 8)
        mean, deviation = (0.45,) * channels, (0.3,) * channels
        spec = TeacherSpec(architecture, options, shape, 3, mean, deviation)
        network = ann(blueprint(architecture, shape, 3, options))
        images = torch.from_numpy(striped(60, channels).images)
        network.train()
        for _ in range(30):
            network((images / 255 - 0.45) / 0.3)
        return Teacher(network, spec)

    return make
