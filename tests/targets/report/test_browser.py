"""The pages in a real Chromium: every drawing shows and nothing overflows.

`make browser-test` runs this and fails without a browser; elsewhere it skips.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from export.to_nir import write
from stars.config.models import DistillConfig
from stars.run_directory import Run
from stars.testing.random_graphs import random_graph, random_images

pytestmark = pytest.mark.browser
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
DRAWINGS = {"full": 19, "empty": 0, "compare": 2}  # one of each selector
WIDTHS = {"phone": 360, "tablet": 768, "desktop": 1280}
DRAWN = """() => [...document.querySelectorAll('svg[role=img]')]
  .filter(one => !one.closest('[hidden]'))
  .map(one => [one.id, one.getBoundingClientRect().width,
               one.getBoundingClientRect().height, one.childElementCount])"""
OUTSIDE = """() => [...document.querySelectorAll('body *')]
  .filter(one => !one.closest('.scroll, .skip, .defs'))
  .filter(one => one.getBoundingClientRect().right > innerWidth + 0.5)
  .map(one => one.tagName + ' ' + (one.id || one.className))"""


def missing(what: str) -> None:
    """Skip without a browser, or fail if one is required."""
    if os.environ.get("STARS_REQUIRE_BROWSER") == "1":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415
    except ImportError:
        missing("playwright is not installed; run 'make browser-test'")
    found = os.environ.get("STARS_BROWSER") or next(
        filter(None, map(shutil.which, BROWSERS)), None
    )
    if found is None:
        missing(
            f"none of {', '.join(BROWSERS)} is on PATH, and STARS_BROWSER is not set"
        )
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox"]
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """A full page, the page of an empty run, and two runs side by side."""
    folder = tmp_path_factory.mktemp("pages")
    graph = random_graph(np.random.default_rng(0), kind="residual")
    shape = graph.shapes[graph.input]
    images = random_images(np.random.default_rng(1), 5, shape)
    np.savez(folder / "t.npz", images=images, labels=np.zeros(5, np.int64))
    full = Run.create(folder / "full", DistillConfig(test_data=str(folder / "t.npz")))
    write(graph, full.graph_path)
    full.add_to_manifest({"teacher_accuracy": 0.9, "grid_accuracy": 0.5})
    full.log({"round": 1, "kl": 2.0})
    full.log({"round": 2, "kl": 1.0})
    better = Run(shutil.copytree(full.path, folder / "better"))
    better.add_to_manifest({"grid_accuracy": 0.7})
    empty = Run.create(folder / ("long-name-" * 20), DistillConfig(seed=1))
    targets = ["--target", "reference", "--target", "loihi"]
    for arguments in (
        ["parity", full.path, *targets],
        ["energy", full.path],
        ["report", full.path],
        ["report", empty.path],
        ["compare", full.path, empty.path, better.path, "--out", folder],
    ):
        assert main(["--quiet", *map(str, arguments)]) == 0
    return {
        "full": full.path / "report.html",
        "empty": empty.path / "report.html",
        "compare": folder / "compare.html",
    }


@pytest.fixture
def opened(browser, pages):
    """Opens a page; fails if the console has a message afterwards."""
    said, contexts = [], []

    def at(name: str, width: int, scheme: str = "light"):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(request.url))
        page.goto(pages[name].as_uri())
        return page

    yield at
    for context in contexts:
        context.close()
    assert said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("name", ["full", "empty", "compare"])
def test_every_drawing_is_drawn_and_nothing_sticks_out(opened, name, width, scheme):
    page = opened(name, width, scheme)
    page.evaluate("document.querySelectorAll('.fold').forEach(f => f.open = true)")
    drawn = page.evaluate(DRAWN)
    assert len(drawn) == DRAWINGS[name]
    for drawing, across, tall, children in drawn:
        assert 200 <= across <= width, drawing
        assert tall > 20, drawing
        assert children > 2, drawing
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OUTSIDE) == []


def test_the_chosen_membrane_is_shown_by_keyboard_alone(opened):
    page = opened("full", 1280)
    shown = "#membranes > figure:not([hidden]) h3"
    first = page.locator(shown).text_content()
    page.focus("#choose-membrane")
    page.keyboard.press("ArrowDown")
    assert page.locator(shown).count() == 1
    second = page.locator(shown).text_content()
    assert second != first
    assert second == page.locator("#choose-membrane").evaluate("s => s.value")


def test_the_layers_of_one_cost_table_are_shown_at_a_time(opened):
    page = opened("full", 1280)
    shown = "#energy-layers > figure:not([hidden])"
    assert page.locator(shown).count() == 1
    page.select_option("#choose-energy", index=2)
    assert page.locator(shown).count() == 1
    chosen = page.locator("#choose-energy").evaluate("s => s.value")
    assert chosen in page.locator(f"{shown} h3").text_content()


@pytest.mark.parametrize(("width", "there"), [(390, False), (1280, True)])
def test_training_folds_away_on_a_phone(opened, width, there):
    page = opened("full", width)
    assert page.locator("#plot-training-0").is_visible() is there
    page.locator(".fold > summary").click()
    assert page.locator("#plot-training-0").is_visible() is not there


def test_the_first_screen_of_a_phone_and_a_desktop_answers_the_questions(opened):
    for width, height in ((1280, 700), (390, 1200)):
        page = opened("full", width)
        places = page.evaluate(
            "() => [...document.querySelectorAll('.verdict, .card')].map("
            "one => one.getBoundingClientRect().bottom)"
        )
        assert len(places) == 5
        assert max(places) <= height


def test_a_click_on_a_row_sorts_the_runs(opened):
    page = opened("compare", 1280)
    table = page.locator("table.sortable").first
    row = table.locator("tbody tr", has_text="accuracy on the grid")
    orders = []
    for _ in range(2):
        row.locator("button").click()
        names = table.locator("thead th").all_text_contents()[1:]
        orders.append([name for name in names if not name.startswith("long")])
        assert "not" not in row.locator("td").first.text_content()
    assert orders == [["full", "better"], ["better", "full"]]
    assert "70.00 %" in row.locator("td").first.text_content()


def test_a_screen_reader_finds_named_landmarks_and_drawings(opened):
    page = opened("full", 1280)
    roles = {"main": 1, "navigation": 1, "heading": 20, "img": 19, "region": 7}
    for role, least in roles.items():
        assert page.get_by_role(role).count() >= least, role
    unnamed = page.evaluate(
        "() => [...document.querySelectorAll('svg[role=img]')].filter(one =>"
        " !one.getAttribute('aria-labelledby').split(' ')"
        ".every(id => document.getElementById(id).textContent.trim()))"
        ".map(one => one.id)"
    )
    assert unnamed == []
    data = json.dumps(page.evaluate("document.title"))
    assert "Exact on 1 target" in data


def test_paper_shows_every_section_in_light_colors(opened):
    page = opened("full", 1280, "dark")
    page.emulate_media(media="print", color_scheme="dark")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    assert page.locator("nav").is_hidden()
    assert page.locator("#plot-layers-0").is_visible()
    assert page.pdf().startswith(b"%PDF")
