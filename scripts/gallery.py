"""Pictures of the sections of a run's report for docs/gallery.md: gallery.py RUN FOLDER.

Only a run of the simulated spec may be shown: other data is not ours to publish. Needs Chromium,
Chrome or Edge.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from engine.cli.main import invoke
from engine.errors import DataError, EngineError, NotFoundError
from engine.rundir import read_run
from engine_report.browser import printed

MOST_BYTES = 200_000
DARK = ("(prefers-color-scheme: dark)", "all")
"""What makes the page dark whatever the machine's setting."""
NO_TABLES = ".scroll, .every, details { display: none }"


@dataclass(frozen=True)
class View:
    """One picture: a section of the page, how wide, and what of it is left out by CSS."""

    name: str
    section: str
    width: int = 1000
    without: str = ""
    dark: bool = False


VIEWS = (
    View("verdict", "verdict", without=".figures, details, p:nth-of-type(4) { display: none }"),
    View("order", "order", without="tbody tr:nth-child(n+2), .charts ~ p { display: none }"),
    View("promotions", "promotions", without=".scroll ~ .scroll ~ * { display: none }"),
    View("leaderboard", "leaderboard", without=".charts ~ * { display: none }"),
    View("segments", "segments", without=NO_TABLES),
    View(
        "series",
        "series",
        without=".gallery figure:nth-of-type(n+5), .gallery ~ * { display: none }",
    ),
    View("drivers", "drivers", without="details { display: none }"),
    View("health", "health"),
    View(
        "phone",
        "verdict",
        width=390,
        dark=True,
        without="p:nth-of-type(n+6), .figures { display: none } body { width: 390px; margin: 0 }",
    ),
)


def main(run: Path, target: Path) -> None:
    """Write one PNG a view."""
    record = read_run(run)
    if record.manifest.get("name") != "promo":
        raise DataError(
            f"{run} is a run of {record.manifest.get('name')!r}",
            hint="the gallery shows the simulated specs/promo.yaml only",
        )
    code = invoke(["report", str(run)])
    if code:
        raise NotFoundError(f"no report could be made of {run} (exit {code})")
    page = (run / "report.html").read_text(encoding="utf-8")
    target.mkdir(parents=True, exist_ok=True)
    for view in VIEWS:
        content = printed(_only(page, view), "png", view.width)
        if len(content) > MOST_BYTES:
            raise DataError(
                f"{view.name}.png would be {len(content):,} bytes, more than {MOST_BYTES:,}",
                hint="leave out more of the section in VIEWS",
            )
        (target / f"{view.name}.png").write_bytes(content)
        print(f"{target / view.name}.png {len(content):,} bytes")


def _only(page: str, view: View) -> str:
    """The page with one section, and of that what the view shows."""
    hidden = f"header > :not(.notice), section:not(#{view.section}), .finder {{ display: none }} {view.without}"
    page = page.replace("</style>", f"{hidden} h2 {{ border: 0; margin-top: 0 }}</style>", 1)
    return page.replace(*DARK) if view.dark else page


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except EngineError as error:
        sys.exit(f"{error.message}; {error.hint}" if error.hint else error.message)
