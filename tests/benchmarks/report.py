"""The report of 10,000 replicates with 100 reports each: time, memory, size, and time to be usable.

Run: python tests/benchmarks/report.py [--json]

Tables are drawn at random and made by the package's own functions; each page is made by a process
of its own, from the store. A page is usable when Chromium has laid it out and answers a click,
which sorts the largest table; without Chromium and Playwright that is not measured.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.helpers import browser
from tests.helpers.made_study import MadeStudy

#: Studies of about 10,000 replicates: many cells of few conditions, and few cells of many.
SETTINGS: dict[str, dict[str, Any]] = {
    "40 x 40 cells, no controls, 6 seeds": {
        "targets": [f"fcn(depth={k})" for k in range(40)],
        "guides": [f"resnet2d(width={k})" for k in range(40)],
        "states": ["trained"], "controls": [], "seeds": 6,
    },
    "10 x 10 cells, 7 conditions each, 14 seeds": {
        "targets": [f"fcn(depth={k})" for k in range(10)],
        "guides": [f"resnet2d(width={k})" for k in range(10)],
        "states": ["trained", "untrained"], "controls": ["shuffled", "input", "labels"],
        "seeds": 14,
    },
}  # fmt: skip
REPORTS = 100
_MAKE = "import sys; from analysis import report; report.write(sys.argv[1], sys.argv[2])"


def measure(settings: dict[str, Any], folder: Path, reports: int = REPORTS) -> dict[str, float]:
    """Seconds and peak memory of making a page, its size, and seconds until it is usable."""
    made = MadeStudy(name="large", reports=reports, **settings)
    study = made.write(folder / "store")
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", _MAKE, "large", str(folder / "store")], check=True)
    seconds = time.perf_counter() - started
    path = study / "report.html"
    figures = {
        "replicates": float(sum(1 for _ in made.plan())),
        "make_s": seconds,
        # Of the largest child so far, in KiB on Linux.
        "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3,
        "page_mb": path.stat().st_size / 1e6,
    }
    return figures | usable(path)


def usable(path: Path) -> dict[str, float]:
    """Seconds from opening a page to its layout, and to an answered click; {} without Chromium."""
    try:
        browser.executable()
    except BaseException as skipped:
        print(f"not measured in a browser: {skipped}", file=sys.stderr)
        return {}
    with browser.chromium() as chromium:
        page = chromium.new_page()
        page.set_viewport_size(browser.WIDE)
        started = time.perf_counter()
        page.goto(path.as_uri(), wait_until="load")
        loaded = time.perf_counter() - started
        page.locator("table.map thead button").nth(1).click()
        page.locator("table.map thead th[aria-sort]").first.wait_for()
        return {"loaded_s": loaded, "usable_s": time.perf_counter() - started}


def main() -> None:
    """Measure every setting, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = {}
    for name, settings in SETTINGS.items():
        with tempfile.TemporaryDirectory() as folder:
            results[name] = measure(settings, Path(folder))
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    print(f"{platform.machine()}, Python {platform.python_version()}")
    for name, figures in results.items():
        shown = ", ".join(f"{key} {value:,.2f}" for key, value in figures.items())
        print(f"{name}: {shown}")


if __name__ == "__main__":
    main()
