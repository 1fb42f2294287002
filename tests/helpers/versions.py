"""Versions of packages, for tests of what only newer ones do."""

from importlib.metadata import version


def older(package: str, *least: int) -> bool:
    """Whether the installed package is older than this version."""
    parts = version(package).split(".")[: len(least)]
    return tuple(map(int, parts)) < least
