"""How the cost of a message grows with connections, size, fan-out and waiting handlers: curves, and their pictures.

``python -m benchmarks.scale [--only CURVE] [--rounds 2] [--json FILE] [--pictures docs/images] [--write PAGE]``.
``--from FILE`` only draws.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.measuring import allow_many_connections, head, make_certificate, measure
from benchmarks.works import CURVES, SUBJECTS, Curve

SECONDS = 2.0
COLOURS = {"ours": "#0b6e4f", "peer": "#c1440e", "picows": "#5b5f97"}
MARKERS = {"ours": "o", "peer": "s", "picows": "^"}

Points = dict[str, dict[str, list[float]]]
"""Of one curve: subject, then value of the parameter, then one number per round."""


def run(curve: Curve, rounds: int, certificate: list[str]) -> Points:
    """Measures all points of a curve, the subjects in turn at each of them."""
    points: Points = {subject: {} for subject in curve.subjects}
    for _ in range(rounds):
        for value in curve.values:
            for subject, most in curve.subjects.items():
                if value <= most:
                    print(f"{curve.name} {value}: {subject}", file=sys.stderr, flush=True)
                    result = measure(subject, curve.work(value), SECONDS, certificate)
                    points[subject].setdefault(str(value), []).append(result[curve.number.key])
    return points


def line(points: dict[str, list[float]]) -> tuple[list[int], list[float], list[float], list[float]]:
    """The values of the parameter in order, and for each of them median, minimum and maximum."""
    values = sorted(map(int, points))
    rounds = [points[str(value)] for value in values]
    return values, list(map(statistics.median, rounds)), list(map(min, rounds)), list(map(max, rounds))


def draw(curve: Curve, points: Points, folder: Path) -> Path:
    """The picture of a curve: medians as lines, minimum to maximum as shades, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "maim_trio"  # the same picture is the same file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for subject, measured in points.items():
        if measured:
            values, medians, least, most = line(measured)
            style = {"color": COLOURS[subject], "marker": MARKERS[subject], "markersize": 4}
            axes.plot(values, medians, label=SUBJECTS[subject].title, **style)
            axes.fill_between(values, least, most, color=COLOURS[subject], alpha=0.15, linewidth=0)
    axes.set(title=curve.title, xlabel=curve.axis, ylabel=curve.number.title, xscale="log", yscale="log")
    axes.yaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: short(value)))
    axes.set_xticks(curve.values, minor=False)
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.grid(visible=True, which="both", linewidth=0.3)
    axes.legend(frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"scale-{curve.name}.svg"
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    return path


def short(value: float) -> str:
    """A number on an axis: 16M for 16 MiB, 10k for ten thousand."""
    for unit, name in ((1024 * 1024, "M"), (1000, "k")):
        if value >= unit and (value % unit == 0 or (unit == 1000 and value % 1024 == 0)):
            return f"{value / (1024 if unit == 1000 and value % 1024 == 0 else unit):g}{name}"
    return f"{value:g}"


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"one of {', '.join(curve.name for curve in CURVES)}")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where the points go")
    parser.add_argument("--from", dest="source", type=Path, help="draw these points and measure nothing")
    parser.add_argument("--pictures", type=Path, help="the folder of the pictures")
    parser.add_argument("--write", type=Path, help="the page to write date, machine and versions into")
    arguments = parser.parse_args()
    chosen = [curve for curve in CURVES if arguments.only in curve.name]
    results: dict[str, Any] = {}
    if arguments.source is not None:
        results = json.loads(arguments.source.read_text(encoding="utf-8"))
    else:
        allow_many_connections()
        results = head(rounds=arguments.rounds, seconds=SECONDS, curves={})
        with tempfile.TemporaryDirectory() as folder:
            certificate = make_certificate(folder)
            for curve in chosen:
                results["curves"][curve.name] = run(curve, arguments.rounds, certificate)
                if arguments.json is not None:
                    arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    for curve in chosen:
        if arguments.pictures is not None and curve.name in results["curves"]:
            print(draw(curve, results["curves"][curve.name], arguments.pictures))
    if arguments.write is not None:
        report.write(arguments.write, "curves", report.circumstances(results))


if __name__ == "__main__":
    main()
