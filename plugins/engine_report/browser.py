"""A page on paper or as one picture, by a Chromium that is already on this machine.

A report is drawn by CSS; only a browser shows it as people see it. Nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from engine.errors import MissingDependencyError, PluginError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
         "microsoft-edge", "msedge")  # fmt: skip
ELSEWHERE = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
WIDTH = 1280
TALLEST = 30_000
"""Pixels; a taller page is cut there."""
_TIME_LIMIT = 120
_HEIGHT = re.compile(r'<html[^>]* data-height="(\d+)"')


def find_browser() -> str:
    """The program of an installed Chromium, Chrome or Edge; MissingDependencyError if none."""
    asked = os.environ.get("CHROME_PATH")
    if asked and shutil.which(asked):
        return asked
    for name in (*NAMES, *ELSEWHERE):
        found = shutil.which(name)
        if found:
            return found
    raise MissingDependencyError(
        "a report as PDF or PNG needs Chromium, Chrome or Edge, and none was found",
        hint="install one (e.g. apt install chromium), or point CHROME_PATH to its program; "
        "--format html needs none",
    )


def printed(html: str, form: Literal["pdf", "png"], width: int = WIDTH) -> bytes:
    """The page as a PDF in pages, or as one PNG of the whole page, `width` pixels wide.

    PluginError if the browser makes nothing.
    """
    browser = find_browser()
    with tempfile.TemporaryDirectory(prefix="engine-report-") as folder:
        page, target = Path(folder, "report.html"), Path(folder, f"report.{form}")
        page.write_text(html, encoding="utf-8")
        if form == "pdf":
            options = ["--no-pdf-header-footer", f"--print-to-pdf={target}"]
        else:
            size = f"--window-size={width},{_height(browser, html, width, Path(folder))}"
            options = ["--hide-scrollbars", size, f"--screenshot={target}"]
        said = _run(browser, [*options, page.as_uri()], Path(folder))
        if not target.exists() or not target.stat().st_size:
            reason = said.strip().splitlines()[-1] if said.strip() else "it said nothing"
            raise PluginError(
                f"{browser} made no {form} of the report: {reason}",
                hint="try --format html, or another browser in CHROME_PATH",
            )
        return target.read_bytes()


def _height(browser: str, html: str, width: int, folder: Path) -> int:
    """Height of the page in pixels, measured by the browser itself."""
    measure = (
        "<script>addEventListener('load', () => { const page = document.documentElement; "
        "page.dataset.height = Math.ceil(document.body.getBoundingClientRect().bottom); });</script>"
    )
    page = folder / "measured.html"
    page.write_text(html.replace("</body>", measure + "</body>"), encoding="utf-8")
    dumped = _run(browser, [f"--window-size={width},1000", "--dump-dom", page.as_uri()], folder)
    found = _HEIGHT.search(dumped)
    return min(int(found[1]), TALLEST) if found else TALLEST


def _run(browser: str, options: Sequence[str], folder: Path) -> str:
    """What the browser says; it gets a profile of its own and is gone afterwards."""
    command = [browser, "--headless=new", "--disable-gpu", "--no-first-run", "--disable-extensions",
               "--force-color-profile=srgb", f"--user-data-dir={folder / 'profile'}"]  # fmt: skip
    if sys.platform == "linux" and os.geteuid() == 0:
        # Chromium refuses to sandbox root, as in most containers; the page is the report's own.
        command.append("--no-sandbox")
    try:
        done = subprocess.run(
            [*command, *options],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIME_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PluginError(
            f"{browser} did not finish within {_TIME_LIMIT} s",
            hint="try --format html, or fewer pictures in the writer's options",
        ) from error
    return done.stdout or done.stderr
