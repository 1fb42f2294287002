"""`stars doctor`: what is installed, what is missing, and the command that mends it."""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cli.output import JsonFlag, Output
from stars.errors import ConfigError

# Capability -> its distributions, each with the module that must import.
PACKAGES: dict[str, dict[str, str]] = {
    "core": {
        "torch": "torch",
        "torchvision": "torchvision",
        "norse": "norse.torch",
        "nir": "nir",
        "numpy": "numpy",
        "scipy": "scipy",
        "h5py": "h5py",
        "safetensors": "safetensors",
        "pydantic": "pydantic",
        "pillow": "PIL",
    },
    "onnx": {"onnx": "onnx", "onnxruntime": "onnxruntime"},
}
REMEDIES = {
    "core": "pip install --upgrade stars-snn",
    "onnx": "pip install 'stars-snn[onnx]'",
    "lava": "stars lava setup",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: its version, or what is wrong with it."""

    capability: str
    name: str
    version: str
    problem: str

    @property
    def ok(self) -> bool:
        """Whether it works."""
        return not self.problem


def doctor(
    context: typer.Context,
    require: Annotated[
        list[str] | None,
        typer.Option(help=f"Also fail without: {', '.join(REMEDIES)}. Repeatable."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Say what is installed, what is missing, and the command that mends it.

    Exit code 5 if the core, or what --require names, does not work.
    """
    needed = {"core", *(require or [])}
    if unknown := needed - REMEDIES.keys():
        raise ConfigError(
            f"--require: unknown capability {', '.join(sorted(unknown))}; "
            f"there are {', '.join(REMEDIES)}"
        )
    out = Output.of(context, json=json)
    findings = [*_examine_packages(), _examine_lava()]
    broken = {finding.capability for finding in findings if not finding.ok}
    _emit(out, findings, broken)
    if broken & needed:
        raise typer.Exit(5)


def _examine_packages() -> list[Finding]:
    return [
        _examine(capability, name, module)
        for capability, modules in PACKAGES.items()
        for name, module in modules.items()
    ]


def _examine(capability: str, name: str, module: str) -> Finding:
    """Import it: a package may be installed and broken."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version(name)
    except PackageNotFoundError:
        return Finding(capability, name, "", "not installed")
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return Finding(capability, name, installed, f"cannot be imported: {error}")
    return Finding(capability, name, installed, "")


def _examine_lava() -> Finding:
    from targets.lava import environment

    found = environment.status()
    version = found.packages.get("lava-nc", "")
    problem = "" if found.ready else f"its environment {found.reason}"
    return Finding("lava", "lava-nc", version, problem)


def _emit(out: Output, findings: list[Finding], broken: set[str]) -> None:
    capabilities = {name: name not in broken for name in REMEDIES}
    remedies = {name: REMEDIES[name] for name in REMEDIES if name in broken}
    data = {
        "capabilities": capabilities,
        "findings": [{**asdict(finding), "ok": finding.ok} for finding in findings],
        "remedies": remedies,
    }
    table = Table("capability", "package", "version", "state", "remedy")
    for finding in findings:
        remedy = "" if finding.ok else escape(REMEDIES[finding.capability])
        state = escape(finding.problem) or "ok"
        table.add_row(finding.capability, finding.name, finding.version, state, remedy)
    out.emit("stars.doctor/1", data, table)
