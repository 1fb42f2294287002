"""The exception tree: every failure that a user can cause is one of these.

    StarsError
      GraphError(ValueError)             a graph, a shape or a value is wrong
      ConfigError(ValueError)            unknown name, option or range
      DataError(ValueError)              images, labels or a data set are wrong
      FormatError(ValueError)            a file cannot be read, or is of a newer version
      UnsupportedNodeError(TypeError)    a back end or target cannot express a node
      LimitError(ValueError)             a network does not fit; lists all violations
      TrainingError(RuntimeError)        a training failed: loss not finite, ...
      TargetError(RuntimeError)          a simulator failed; holds its log
      MissingDependencyError(ImportError)  names the command that installs it

A message says where, what was found, what is allowed and what to do. A parity
mismatch is a result, not an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class StarsError(Exception):
    """Base class of all errors that this toolchain raises on purpose."""


class GraphError(StarsError, ValueError):
    """A graph, a shape or a value is wrong."""


class ConfigError(StarsError, ValueError):
    """A name or an option is unknown, or a value is out of its range."""


class DataError(StarsError, ValueError):
    """Images, labels or a data set are wrong."""


class FormatError(StarsError, ValueError):
    """A file cannot be read, is of another kind, or is of a newer version."""


class UnsupportedNodeError(StarsError, TypeError):
    """A back end or a target cannot express a node of the graph."""


class LimitError(StarsError, ValueError):
    """A network does not fit; `violations` holds all reasons, not only the first."""

    def __init__(self, where: str, violations: Sequence[str]) -> None:
        self.violations = tuple(violations)
        super().__init__(
            f"{where}: {len(self.violations)} limit(s) exceeded:\n  "
            + "\n  ".join(self.violations)
        )


class TrainingError(StarsError, RuntimeError):
    """A training failed: a loss is not finite, or a layer is silent."""


class TargetError(StarsError, RuntimeError):
    """A simulator failed; `log` holds the end of its output."""

    def __init__(self, message: str, log: str = "") -> None:
        self.log = log
        super().__init__(message if not log else f"{message}\n{log}")


class MissingDependencyError(StarsError, ImportError):
    """An optional package is missing; the message says how to install it."""


def guess(name: str, known: Iterable[str]) -> str:
    """A question for an error text: was the nearest known name meant? Or nothing."""
    near = get_close_matches(name, list(known), 1)
    return f" (did you mean '{near[0]}'?)" if near else ""
