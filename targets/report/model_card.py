"""MODEL_CARD.md: a network, its measurements, its intended use and its limits."""

from __future__ import annotations

import json
import re

from jinja2 import Environment, PackageLoader, StrictUndefined

from stars.config.sources import BUNDLED
from targets.report.model import Report
from targets.report.sentences import (
    certificate_sentence,
    counted,
    data_sentence,
    facts,
    percent,
    verdict,
)
from targets.summary import si

# Name of a data set here: its name on Hugging Face, and its license as stated there.
DATA_SETS = {
    "fashion-mnist": ("zalando-datasets/fashion_mnist", "MIT license"),
    "mnist": ("ylecun/mnist", "MIT license"),
    "cifar10": ("uoft-cs/cifar10", "no license stated"),
    "cifar100": ("uoft-cs/cifar100", "no license stated"),
    "tiny-imagenet": ("zh-plus/tiny-imagenet", "no license stated"),
}
SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#])")


def model_card(report: Report) -> str:
    """The card as Markdown; all names from a user are escaped."""
    templates = Environment(
        loader=PackageLoader("targets.report"),
        autoescape=False,  # Markdown; the filter `plain` escapes names from a user
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["plain"] = escaped
    templates.filters["command"] = command
    text = templates.get_template("model_card.md").render(
        report=report,
        verdict=verdict(report),
        data_sentence=data_sentence(report),
        certificate=certificate_sentence(report),
        facts=facts(report),
        licenses=licenses(report),
        percent=percent,
        counted=counted,
        si=si,
    )
    return front_matter(report) + text.rstrip() + "\n"


def front_matter(report: Report) -> str:
    """The YAML block that Hugging Face reads; its values are JSON, a subset of YAML.

    Source: huggingface.co/docs/hub/model-cards, and `ModelCardData` of huggingface_hub.
    """
    bundled = report.provenance.teacher == BUNDLED
    tags = ["spiking-neural-network", "neuromorphic", "knowledge-distillation", "nir"]
    if report.provenance.data_free:
        tags.append("data-free")
    values: dict[str, object] = {
        "license": "mit" if bundled else "other",
        "library_name": "stars-snn",
        "tags": tags,
        "pipeline_tag": "image-classification",
    }
    if not bundled:
        values["license_name"] = "as-the-teacher"
    known = data_set(report.accuracies.test_data)
    if known is not None:
        values["datasets"] = [known]
    if report.accuracies.grid is not None:
        values["model-index"] = [evaluation(report, report.accuracies.grid)]
    lines = [f"{name}: {json.dumps(value)}" for name, value in values.items()]
    block = "\n".join(["---", *lines, "---", "", ""])
    return block.replace("<", "\\u003c").replace(">", "\\u003e")


def evaluation(report: Report, accuracy: float) -> dict[str, object]:
    """The accuracy of the exported network as an entry of `model-index`."""
    known = data_set(report.accuracies.test_data)
    result = {
        "task": {"type": "image-classification"},
        "dataset": {
            "type": known or "custom",
            "name": known or "test images of the run",
            "split": "test",
        },
        "metrics": [{"type": "accuracy", "value": round(accuracy, 6)}],
    }
    return {"name": report.name, "results": [result]}


def data_set(spec: str | None) -> str | None:
    """The name on Hugging Face of the data set that `spec` names; None if unknown."""
    name = re.split("[:@]", spec or "")[0]
    return DATA_SETS[name][0] if name in DATA_SETS else None


def licenses(report: Report) -> list[str]:
    """A sentence on the license of the teacher, and one on that of the test images."""
    about, spec = report.provenance, report.accuracies.test_data
    known = DATA_SETS.get(re.split("[:@]", spec or "")[0])
    teacher = "The license of the teacher is not recorded. Ask whoever made it."
    if about.teacher == BUNDLED:
        teacher = "The bundled teacher has the MIT license of STARS."
    data = "The license of the test images is not recorded."
    if known is not None:
        data = f"The test images, {known[0]}: {known[1]}."
    return [teacher, data if spec else "There are no test images."]


def escaped(content: object) -> str:
    """Text on one line, with Markdown and HTML characters escaped."""
    line = " ".join(str(content).split())
    return SPECIAL.sub(r"\\\1", line)


def command(line: str) -> str:
    """A command line as code; as escaped text if it has a backtick."""
    return escaped(line) if "`" in line else f"`{line}`"
