"""The tools of other machines, which a test may lack."""

import os

import pytest

from targets.base import Target


def need(target: Target) -> None:
    """Skip the test without the target's tools; with STARS_REQUIRE_CROSS, fail."""
    missing = target.unavailable()
    if missing and os.environ.get("STARS_REQUIRE_CROSS") == "1":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
