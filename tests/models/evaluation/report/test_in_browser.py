"""The report in a real browser: every figure has drawn, nothing is asked of a network, and nothing complains."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CANDIDATES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
DRAWN = """
Array.from(document.querySelectorAll("figure[data-figure]")).map(figure => {
  const marks = Array.from(figure.querySelectorAll("svg path, svg use")).filter(mark => !mark.closest("defs, clipPath"));
  const seen = marks.filter(mark => { const box = mark.getBoundingClientRect(); return box.width + box.height > 0; });
  const box = figure.querySelector("svg").getBoundingClientRect();
  return {name: figure.dataset.figure, width: box.width, height: box.height, marks: seen.length,
          texts: figure.querySelectorAll("svg text").length};
})
"""


def find_browser(playwright: Any) -> str | None:
    """Return a Chromium: the one that ``CARTWHEEL_BROWSER`` names, one on the path, or the one that Playwright has fetched."""
    told = os.environ.get("CARTWHEEL_BROWSER")
    found = told or next((path for name in CANDIDATES if (path := shutil.which(name))), None)
    own = playwright.chromium.executable_path
    return found or (own if Path(own).is_file() else None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="LOOK: the report was not opened: Playwright is not installed")
    with api.sync_playwright() as playwright:
        path = find_browser(playwright)
        if path is None:
            pytest.skip("LOOK: the report was not opened: there is no Chromium; install one, or name it in CARTWHEEL_BROWSER")
        try:
            opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"LOOK: the report was not opened: {path} does not start: {error.message.splitlines()[0]}")
        yield opened
        opened.close()


def open_page(browser: Any, report_file: Path, **options: Any) -> tuple[Any, list[str], list[str]]:
    """Return the page, what it asked for and what it complained of."""
    page = browser.new_page(**options)
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(report_file.as_uri())
    return page, asked, complaints


@pytest.mark.parametrize("width", [1400, 420])
def test_every_figure_has_drawn_and_nothing_was_asked_for(browser: Any, report_file: Path, width: int) -> None:
    page, asked, complaints = open_page(browser, report_file, viewport={"width": width, "height": 900})
    drawn = page.evaluate(DRAWN)
    names = [figure["name"] for figure in drawn]
    assert len(names) == len(set(names)) >= 15
    for figure in drawn:
        assert figure["width"] > min(width, 700) / 2, figure
        assert figure["height"] > 30, figure
        assert figure["marks"] >= 5, figure
        assert figure["texts"] >= 3, figure
    assert asked == [report_file.as_uri()]
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_every_link_of_the_contents_leads_to_a_part_with_text(browser: Any, report_file: Path) -> None:
    page, _, _ = open_page(browser, report_file)
    targets = page.evaluate(
        "Array.from(document.querySelectorAll('nav a')).map(a => document.querySelector(a.hash)?.innerText.length ?? 0)"
    )
    assert len(targets) == 9
    assert min(targets) > 100
    page.close()


def test_dark_light_and_print_are_readable(browser: Any, report_file: Path) -> None:
    """The contrast of text to paper is that of the W3C's level AA, in drawings too."""
    looks = {"light": ("light", "screen"), "dark": ("dark", "screen"), "print": ("dark", "print")}
    papers = {}
    for look, (scheme, medium) in looks.items():
        page, _, _ = open_page(browser, report_file)
        page.emulate_media(color_scheme=scheme, media=medium)
        paper = _luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        papers[look] = paper
        for selector in ("body", ".note", "figure svg text", ".badge"):
            script = f"(() => {{ const s = getComputedStyle(document.querySelector('{selector}'));"
            colour = page.evaluate(script + f"return '{selector}'.includes('svg') ? s.fill : s.color; }})()")
            ratio = (max(_luminance(colour), paper) + 0.05) / (min(_luminance(colour), paper) + 0.05)
            assert ratio >= 4.5, (look, selector, colour)
        page.close()
    assert papers["dark"] < 0.1 < papers["light"] == papers["print"]


def _luminance(colour: str) -> float:
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
