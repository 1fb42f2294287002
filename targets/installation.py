"""Which packages are installed, their versions, and the commands that fix problems.

On request every package is imported, because an installed package may still be broken.
"""

from __future__ import annotations

import importlib
import importlib.util
import platform
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from targets.lava import environment

# Capability -> the command that fixes it.
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
        "jinja2": "jinja2",
        "markupsafe": "markupsafe",
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
    """One package that was examined: its version, and its problem if it has one."""

    capability: str
    name: str
    version: str | None
    problem: str | None = None

    @property
    def remedy(self) -> str | None:
        """The command that fixes the problem; None if there is none."""
        return REMEDIES[self.capability] if self.problem else None


def examine(*, load: bool = False) -> list[Finding]:
    """A finding for Python and each package in the order of PACKAGES, Lava last.

    Args:
        load: True imports each package, which takes seconds; False only finds it and
            reads its version.
    """
    packages = [
        _examine_package(capability, name, module, load=load)
        for capability, modules in PACKAGES.items()
        for name, module in modules.items()
    ]
    return [_examine_python(), *packages, _examine_lava()]


def devices() -> list[str]:
    """The devices of torch on this machine, such as "cpu" or "cuda:0 (name)"."""
    torch = importlib.import_module("torch")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(count)]
    return ["cpu", *names]


def _examine_package(capability: str, name: str, module: str, *, load: bool) -> Finding:
    try:
        installed = version(name)
    except PackageNotFoundError:
        return Finding(capability, name, None, "not installed")
    try:
        if load:
            importlib.import_module(module)
        elif importlib.util.find_spec(module.split(".", maxsplit=1)[0]) is None:
            raise ImportError(f"no module named '{module}'")
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return Finding(capability, name, installed, f"cannot be imported: {error}")
    lowest = supported().get(name, "0")
    if numbers(installed) < numbers(lowest):
        problem = f"older than {lowest}, the lowest that is supported"
        return Finding(capability, name, installed, problem)
    return Finding(capability, name, installed)


def supported() -> dict[str, str]:
    """The lowest supported version of each package, from our own metadata."""
    lines = [re.split("[;,]", line)[0] for line in requires("stars-snn") or []]
    pairs = (line.replace(" ", "").partition(">=") for line in lines)
    return {name: lowest for name, _, lowest in pairs if lowest}


def numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparison."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def _examine_python() -> Finding:
    here, range_ = platform.python_version(), metadata("stars-snn")["Requires-Python"]
    bounds = dict(re.findall(r"(>=|<)\s*([\d.]+)", range_ or ""))
    low, high = numbers(bounds.get(">=", "0")), numbers(bounds.get("<", "99"))
    if low <= numbers(here) < high:
        return Finding("core", "python", here)
    return Finding("core", "python", here, f"not in the supported range {range_}")


def _examine_lava() -> Finding:
    found = environment.status()
    if not found.ready:
        return Finding("lava", "lava-nc", None, f"its environment {found.reason}")
    return Finding("lava", "lava-nc", found.packages["lava-nc"])
