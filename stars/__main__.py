"""`stars` and `python -m stars`: checks that our packages are ours, then runs the CLI.

The distribution installs four top-level packages. `cli`, `export` and `targets` are
plain names: a folder of the user, or another distribution, may have one of them and be
found first. Then this says so, instead of failing somewhere inside.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("cli", "export", "targets")
USAGE = 2


def main() -> int:
    """Run the command line of this process; returns the exit code."""
    found = intruders()
    for name, path in found.items():
        ours = Path(__file__).parents[1] / name
        print(
            f"error: the package '{name}' is imported from '{path}', not from '{ours}';"
            " rename that folder, or take its parent off PYTHONPATH and sys.path",
            file=sys.stderr,
        )
    if found:
        return USAGE
    code: int = import_module("cli.main").main()
    if "WORLD_SIZE" in os.environ:  # one of several processes, as torchrun starts them
        import_module("stars.runtime.distributed").leave(code)
    return code


def intruders() -> dict[str, str]:
    """Where each of our other packages comes from, if not from beside this one."""
    found = {}
    for name in PACKAGES:
        spec = find_spec(name)
        places = list(spec.submodule_search_locations or ()) if spec else []
        expected = Path(__file__).resolve().parents[1] / name
        if not places or Path(places[0]).resolve() != expected:
            found[name] = places[0] if places else str(spec and spec.origin)
    return found


if __name__ == "__main__":
    sys.exit(main())
