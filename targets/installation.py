"""What is installed here, of which version, and the command that mends what is not.

Every package is really imported: one that is installed may still be broken.
"""

from __future__ import annotations

import importlib
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from targets.lava import environment

# Capability -> the command that mends it.
REMEDIES = {
    "core": "pip install --upgrade stars-snn",
    "onnx": "pip install 'stars-snn[onnx]'",
    "lava": "stars lava setup",
}
# Capability -> its distributions, each with the module that must import.
PACKAGES = {
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
        "jaxtyping": "jaxtyping",
        "tomli-w": "tomli_w",
    },
    "onnx": {"onnx": "onnx", "onnxruntime": "onnxruntime"},
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: its version, and what is wrong with it, if so."""

    capability: str
    name: str
    version: str | None
    problem: str | None = None

    @property
    def remedy(self) -> str | None:
        """The command that mends it; None when nothing is wrong."""
        return REMEDIES[self.capability] if self.problem else None


def examine() -> list[Finding]:
    """Everything that the capabilities need, in the order of PACKAGES, Lava last."""
    packages = [
        _examine_package(capability, name, module)
        for capability, modules in PACKAGES.items()
        for name, module in modules.items()
    ]
    python = Finding("core", "python", platform.python_version())
    return [python, *packages, _examine_lava()]


def devices() -> list[str]:
    """What torch can compute on here, such as "cpu" or "cuda:0 (name)"."""
    torch = importlib.import_module("torch")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(count)]
    return ["cpu", *names]


def _examine_package(capability: str, name: str, module: str) -> Finding:
    try:
        installed = version(name)
    except PackageNotFoundError:
        return Finding(capability, name, None, "not installed")
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return Finding(capability, name, installed, f"cannot be imported: {error}")
    return Finding(capability, name, installed)


def _examine_lava() -> Finding:
    found = environment.status()
    if not found.ready:
        return Finding("lava", "lava-nc", None, f"its environment {found.reason}")
    return Finding("lava", "lava-nc", found.packages["lava-nc"])
