"""Pages that the site makes from the program: the command line and the public names.

mkdocs calls the functions `on_...`; see `hooks` in mkdocs.yml.
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PROJECT = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
PUBLIC_NAMES = re.compile(r"^<!-- public names: (\w+) -->$", re.MULTILINE)
KINDS = {str: "text", int: "integer", float: "number", Path: "path"}
DRAWING = re.compile(r"^!\[([^\]]*)\]\(([^)]+\.svg)\)$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {"reference/cli.md": command_line()}
    pages |= {name.lower(): project_page(ROOT / name) for name in PROJECT}
    for uri, text in pages.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(
    markdown: str,
    page: Page,
    config: MkDocsConfig,  # noqa: ARG001 - mkdocs passes it by name
    files: Files,  # noqa: ARG001
) -> str:
    """Insert public names and drawings."""
    folder = (ROOT / "docs" / page.file.src_uri).parent
    markdown = DRAWING.sub(lambda m: drawing(folder / m[2], m[1]), markdown)
    return PUBLIC_NAMES.sub(lambda m: public_names(import_module(m[1])), markdown)


def project_page(path: Path) -> str:
    """A file of the project's root, with its links as they are in the site."""
    return path.read_text(encoding="utf-8").replace("](docs/", "](")


def drawing(path: Path, caption: str) -> str:
    """The drawing inside the page, where it takes the color of the text."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"<style>.*?</style>\s*", "", text, flags=re.DOTALL)
    caption = f"<figcaption>{caption}</figcaption>"
    return f'<figure style="width: 100%">\n{text}{caption}\n</figure>'


def public_names(package: ModuleType) -> str:
    """A mkdocstrings entry for every name in the package's `__all__`."""
    names = [n for n in getattr(package, "__all__", []) if hasattr(package, n)]
    if not names:
        return f"::: {package.__name__}\n"
    table = ["| name | does |", "|---|---|"]
    entries = []
    for name in names:
        found = getattr(package, name)
        table.append(f"| `{package.__name__}.{name}` | {first_line(found)} |")
        if inspect.isclass(found) or inspect.isfunction(found):
            entries.append(f"::: {found.__module__}.{found.__qualname__}\n")
    return "\n".join([*table, "", *entries])


def first_line(found: Any) -> str:
    """The first line of a docstring, for a cell of a table."""
    documented = inspect.ismodule(found) or inspect.isclass(found) or callable(found)
    text = inspect.getdoc(found) if documented else f"`{found!r}`"
    return (text or "").split("\n")[0].replace("|", "\\|")


def command_line() -> str:
    """Every command with its arguments and options, from the program's own parser."""
    from cli.main import build_app  # noqa: PLC0415 - the program, not the site

    root = typer.main.get_command(build_app())
    head = "# Command line\n\nThis page is made from the program.\n"
    return "\n".join([head, *sections(root, "stars")])


def sections(command: Any, name: str) -> list[str]:
    """A section for a command, then one for each of its own commands."""
    own = [f"## {name}", "", (command.help or "").strip(), ""]
    rows = [row(p) for p in command.params if p.name != "help"]
    if rows:
        own += [
            "| option | value | default | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    inner = getattr(command, "commands", {})
    return own + [x for n, c in inner.items() for x in sections(c, f"{name} {n}")]


def row(parameter: Any) -> str:
    """A row of a command's table."""
    argument = parameter.param_type_name == "argument"
    names = [parameter.name.upper()] if argument else parameter.opts
    shown = "required" if parameter.required else default_text(parameter.default)
    text = getattr(parameter, "help", None) or ""
    if parameter.envvar:
        text += f" Environment: `{parameter.envvar}`."
    cells = (", ".join(f"`{n}`" for n in names), value_text(parameter), shown, text)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def value_text(parameter: Any) -> str:
    """The kind of value that an option takes; none for an option that is on or off."""
    if getattr(parameter, "is_flag", False):
        return ""
    annotation = parameter.type_descriptor.annotation
    (kind, *_) = get_args(annotation) or (annotation,)
    name = parameter.metavar or KINDS.get(kind, getattr(kind, "__name__", str(kind)))
    return f"{name}, repeatable" if parameter.multiple or parameter.nargs < 0 else name


def default_text(default: Any) -> str:
    """A default that a reader wants to see; none for an option that is off."""
    plain = default is not None and default is not False and not callable(default)
    return f"`{default}`" if plain and default not in ([], ()) else ""
