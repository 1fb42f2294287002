"""The same C for other machines: WebAssembly, and firmware on an emulated board.

`c-wasm` runs on wasmtime. `c-arm` and `c-arm-m55` are bare-metal programs for two
boards of Arm. QEMU runs them, and gives them files by semihosting. Flash and RAM are
those of the board, and the linker refuses more.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from targets.c.supervised import run_program
from targets.c.target import COMPILE_SECONDS, FLAGS, CTarget

HERE = Path(__file__).parent
COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
ARM_REMEDY = "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
# Most images of `stars parity` on targets that are slow.
MOST_IMAGES = {"c-wasm": 1000, "c-arm": 8, "c-arm-m55": 8}


@dataclass
class WasmTarget(CTarget):
    """WebAssembly, compiled by zig and run by wasmtime."""

    name: str = "c-wasm"
    description: str = "the exported C sources as WebAssembly in wasmtime: integers"

    def unavailable(self) -> str | None:
        """Missing packages, and the command that installs them."""
        missing = [n for n in ("ziglang", "wasmtime") if find_spec(n) is None]
        if missing:
            return f"{', '.join(missing)} not installed; run pip install 'stars-snn[c]'"
        return None

    def compiler(self) -> list[str | Path]:
        """Zig, for WebAssembly under WASI."""
        return [sys.executable, "-m", "ziglang", "cc", "--target=wasm32-wasi"]

    def execute(
        self, folder: Path, place: Path, given: bytes, numbers: list[str]
    ) -> None:
        """Run the program in a process with wasmtime."""
        what = f"target '{self.name}': the program"
        command: list[str | Path] = [sys.executable, HERE / "wasm_program.py"]
        command += [folder / "program", "-", "out", *numbers]
        run_program(command, place, what, self.seconds, given)


@dataclass(frozen=True)
class Board:
    """A board of Arm in QEMU.

    Args:
        machine, cpu: names of QEMU and of the compiler.
        flash, ram: (first address, bytes).
        source: of the addresses.
    """

    machine: str
    cpu: str
    flash: tuple[int, int]
    ram: tuple[int, int]
    source: str


AN386 = Board(
    machine="mps2-an386",
    cpu="cortex-m4",
    flash=(0x00000000, 4 << 20),
    ram=(0x20000000, 4 << 20),
    source="Arm AN386: ZBT SSRAM1, which holds the code, and ZBT SSRAM2 and 3",
)
AN547 = Board(
    machine="mps3-an547",
    cpu="cortex-m55",
    flash=(0x00000000, 512 << 10),
    ram=(0x21000000, 4 << 20),
    source="Arm AN547: instruction memory, and internal SRAM banks 0 and 1",
)


@dataclass
class ArmTarget(CTarget):
    """Firmware of a Cortex-M on a board in QEMU."""

    name: str = "c-arm"
    description: str = "the exported C sources as Cortex-M4 firmware in QEMU: integers"
    chunk: int = 8
    seconds: float = 600.0
    board: Board = AN386

    def unavailable(self) -> str | None:
        """Missing programs, and the command that installs them."""
        missing = [n for n in (COMPILER, EMULATOR) if shutil.which(n) is None]
        if missing:
            return f"{', '.join(missing)} not installed; run {ARM_REMEDY}"
        return None

    def build(self, folder: Path, files: list[Path]) -> None:
        """Compile `files` and the start-up code; the linker places them."""
        board = self.board
        script = (HERE / "board.ld").read_text(encoding="utf-8")
        for name, value in (("FLASH", board.flash), ("RAM", board.ram)):
            script = script.replace(f"{name}_FIRST", hex(value[0]))
            script = script.replace(f"{name}_BYTES", str(value[1]))
        (folder / "board.ld").write_text(script, encoding="utf-8")
        command: list[str | Path] = [COMPILER, *self.flags, f"-mcpu={board.cpu}"]
        command += ["-mthumb", "-nostartfiles", "--specs=rdimon.specs"]
        command += ["-T", folder / "board.ld", "-iquote", files[0].parent]
        command += [*files, HERE / "firmware.c", "-o", folder / "program"]
        run_program(command, folder, "the C compiler", COMPILE_SECONDS)

    def execute(
        self, folder: Path, place: Path, given: bytes, numbers: list[str]
    ) -> None:
        """Run the firmware; with setpriv, QEMU ends when this process does."""
        (place / "in").write_bytes(given)
        arguments = ",".join(f"arg={a}" for a in ("program", "in", "out", *numbers))
        command: list[str | Path] = [EMULATOR, "-M", self.board.machine]
        command += ["-display", "none", "-monitor", "none", "-serial", "none"]
        command += ["-semihosting-config", f"enable=on,target=native,{arguments}"]
        if shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        what = f"target '{self.name}': the firmware"
        command += ["-kernel", folder / "program"]
        run_program(command, place, what, self.seconds)


def cortex_m55() -> ArmTarget:
    """The target that runs firmware of a Cortex-M55."""
    return ArmTarget(
        flags=(*FLAGS, "-mfloat-abi=hard"),
        name="c-arm-m55",
        description="the exported C sources as Cortex-M55 firmware in QEMU: integers",
        board=AN547,
    )
