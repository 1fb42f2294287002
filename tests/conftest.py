"""Fixtures that more than one test file needs, and what every test runs under."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from stars.errors import MissingDependencyError
from targets.lava import environment

# The same examples on every machine and every day.
settings.register_profile("stars", derandomize=True, deadline=None)
settings.load_profile("stars")


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
