"""Runs a WebAssembly program under WASI: python wasm_program.py FILE ARGUMENT...

It may read and write the current folder only. A process of its own, so that a time
limit can end it.
"""

from __future__ import annotations

import sys
from importlib import import_module


def main() -> None:
    """Run the program; exits with its code."""
    wasmtime = import_module("wasmtime")
    engine = wasmtime.Engine()
    store, linker = wasmtime.Store(engine), wasmtime.Linker(engine)
    settings = wasmtime.WasiConfig()
    settings.argv = sys.argv[1:]
    settings.inherit_stdin()
    settings.inherit_stderr()
    settings.preopen_dir(".", ".")
    store.set_wasi(settings)
    linker.define_wasi()
    module = wasmtime.Module.from_file(engine, sys.argv[1])
    start = linker.instantiate(store, module).exports(store)["_start"]
    try:
        start(store)
    except wasmtime.ExitTrap as end:
        sys.exit(end.code)


if __name__ == "__main__":
    main()
