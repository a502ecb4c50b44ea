# SPDX-License-Identifier: GPL-2.0-only
"""A launch as a drawing (SVG): a row for each lock and for each vCPU's calls, a bar for everything that lasted.

The axis is not linear, because a test waits a thousand times longer than a firmware command takes: the width between two
events grows more slowly than the time, and the times are written below. The colours follow the reader's choice of a light
or a dark screen, in a page and in a file of its own. Each bar has a tooltip, and the drawing a description in words."""
from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from lab.judge.trace_log import TraceLog
from lab.view.elements import Element, element
from lab.view.launch import Bar, Kind, Launch, describe, launches

WIDTH, LEFT, RIGHT = 1000, 150, 16
TOP, ROW, THICK = 44, 30, 20
# The height of the strip that shows a vCPU in its guest, at the bottom of the bar of its KVM_RUN.
STRIP = 5
# Width grows with this power of the time; no stretch is narrower than LEAST (in the same unit).
POWER, LEAST = 0.35, 3.0
# Room for a tick's number, and for a letter.
TICK, LETTER = 64, 6.6
SVG = "http://www.w3.org/2000/svg"
STYLE = """
.tl { --ground: #ffffff; --text: #1c2128; --quiet: #57606a; --line: #d0d7de; --finish: #0969da; --run: #bc4c00;
  --guest: #6e2c00; --other: #8c959f; --firmware: #8250df; --on: #ffffff; --stripe: #ffffff; }
@media (prefers-color-scheme: dark) { .tl { --ground: #0d1117; --text: #e6edf3; --quiet: #9da7b3; --line: #3d444d;
  --finish: #58a6ff; --run: #f0883e; --guest: #ffd8b5; --other: #7d8590; --firmware: #bc8cff; --on: #0d1117;
  --stripe: #0d1117; } }
.tl text { font: 12px system-ui, sans-serif; fill: var(--text); } .tl .quiet { fill: var(--quiet); }
.tl .title { font-size: 15px; font-weight: 600; } .tl .on { fill: var(--on); pointer-events: none; }
.tl .ground { fill: var(--ground); } .tl .line { stroke: var(--line); } .tl .edge { stroke: var(--finish);
  stroke-dasharray: 3 3; } .tl .stripe { stroke: var(--stripe); stroke-width: 6; opacity: .4; }
.tl .finish { fill: var(--finish); } .tl .run { fill: var(--run); } .tl .guest { fill: var(--guest); }
.tl .other { fill: var(--other); } .tl .firmware { fill: var(--firmware); }
"""
LEGEND = ((Kind.FINISH, "LAUNCH_FINISH"), (Kind.RUN, "KVM_RUN"), (Kind.GUEST, "in the guest"),
          (Kind.OTHER, "another call"), (Kind.FIRMWARE, "firmware command"), (Kind.WAIT, "waits for a lock"))


class Axis:
    """Where a time is drawn."""

    def __init__(self, launch: Launch) -> None:
        self.begin, self.end = launch.begin, launch.end
        bars = [bar for row in launch.rows for bar in row.bars]
        self.times = sorted({self.within(t) for bar in bars for t in (bar.start, bar.until(launch.end))}
                            | {launch.begin, launch.end})
        widths = [max(LEAST, (b - a) ** POWER) for a, b in pairwise(self.times)]
        scale = (WIDTH - LEFT - RIGHT) / (sum(widths) or 1)
        self.places = [float(LEFT)]
        for width in widths:
            self.places.append(self.places[-1] + width * scale)

    def within(self, time: int) -> int:
        """Moves a time that is not shown to the nearest edge."""
        return min(max(time, self.begin), self.end)

    def __call__(self, time: int) -> float:
        return round(self.places[self.times.index(self.within(time))], 1)


def timeline(launch: Launch, title: str, name: str = "launch") -> Element:
    """The drawing. `name` tells its parts from those of other drawings in the same page."""
    axis, rows = Axis(launch), launch.rows
    bottom = TOP + ROW * len(rows)
    height = bottom + 66
    labels = [element("text", row.name, x=8, y=TOP + ROW * i + ROW / 2 + 4) for i, row in enumerate(rows)]
    lines = [element("line", class_="line", x1=0, x2=WIDTH, y1=y, y2=y) for y in range(TOP, bottom + 1, ROW)]
    tops = [TOP + ROW * i + (ROW - THICK) / 2 for i in range(len(rows))]
    bars = [_bar(bar, axis, y, name) for y, row in zip(tops, rows) for bar in _order(row.bars)]
    # A row that has the name of its only bar needs no words on it.
    words = [_label(bar, axis, y) for y, row in zip(tops, rows) for bar in row.bars if bar.label != row.name]
    edges = [element("line", class_="edge", x1=axis(time), x2=axis(time), y1=TOP - 6, y2=bottom)
             for time in (launch.finish.start, launch.finish.end) if time is not None]
    return element(
        "svg", element("title", title, id=f"{name}-title"), element("desc", " ".join(describe(launch)), id=f"{name}-words"),
        element("style", STYLE), _stripes(name), element("rect", class_="ground", width=WIDTH, height=height),
        element("text", title, class_="title", x=8, y=24), *lines, *labels, *edges, *bars, *words,
        *_ticks(launch, axis, bottom),
        *_legend(bottom + 44, name), xmlns=SVG, viewBox=f"0 0 {WIDTH} {height}", width=WIDTH, height=height, class_="tl",
        role="img", aria_labelledby=f"{name}-title {name}-words")


def _order(bars: Iterable[Bar]) -> list[Bar]:
    """Draws strips and waits last: they lie on top of the calls."""
    return sorted(bars, key=lambda bar: (bar.kind is Kind.GUEST, bar.kind is Kind.WAIT))


def _stripes(name: str) -> Element:
    """The stripes that show a wait: readers who see no colours can tell it from other bars."""
    stripe = element("line", class_="stripe", x1=0, y1=0, x2=0, y2=7)
    return element("defs", element("pattern", stripe, id=f"{name}-wait", width=7, height=7, patternUnits="userSpaceOnUse",
                                   patternTransform="rotate(45)"))


def _bar(bar: Bar, axis: Axis, y: float, name: str) -> Element:
    """A bar, with its words as a tooltip."""
    x, right = axis(bar.start), axis(bar.until(axis.end))
    ended = "has no end in the trace" if bar.end is None else f"{bar.end - bar.start} µs"
    returned = "" if bar.returned is None else f", returned {bar.returned}"
    waits = " waits for the lock" if bar.kind is Kind.WAIT and "waits" not in bar.label else ""
    strip = STRIP if bar.kind is Kind.GUEST else THICK
    return element("rect", element("title", f"{bar.label}{waits}: {ended}{returned}"), class_=bar.kind.value, x=x,
                   y=y + THICK - strip, width=max(round(right - x, 1), 1.5), height=strip, rx=2,
                   style=f"fill: url(#{name}-wait)" if bar.kind is Kind.WAIT else None)


def _label(bar: Bar, axis: Axis, y: float) -> Element | None:
    """The words on a bar, if there is room."""
    shown, x = bar.label + (" …" if bar.end is None else ""), axis(bar.start)
    if bar.kind in (Kind.WAIT, Kind.GUEST, Kind.FIRMWARE) or x + len(shown) * LETTER + 8 > axis(bar.until(axis.end)):
        return None
    return element("text", shown, class_="on", x=x + 4, y=y + THICK / 2 + 3)


def _ticks(launch: Launch, axis: Axis, bottom: float) -> list[Element]:
    """Times in milliseconds since LAUNCH_FINISH began, where there is room for them: its begin and end come first."""
    wanted = [t for t in (launch.finish.start, launch.finish.end, axis.begin, axis.end) if t is not None]
    shown: list[int] = []
    for time in [*wanted, *axis.times]:
        if all(abs(axis(time) - axis(other)) >= TICK for other in shown):
            shown.append(time)
    made = [element("text", "ms", class_="quiet", x=8, y=bottom + 16)]
    for time in sorted(shown):
        x = axis(time)
        anchor = "end" if x > WIDTH - RIGHT - TICK / 2 else "middle"
        made += [element("line", class_="line", x1=x, x2=x, y1=bottom, y2=bottom + 5),
                 element("text", f"{(time - launch.finish.start) / 1000:.2f}", class_="quiet", x=x, y=bottom + 18,
                         text_anchor=anchor)]
    return made


def _legend(y: float, name: str) -> Iterable[Element]:
    """The legend: the meaning of each colour."""
    x = 8.0
    for kind, words in LEGEND:
        shape = {"x": x, "y": y - 10, "width": 18, "height": 12, "rx": 2}
        yield element("rect", class_="other" if kind is Kind.WAIT else kind.value, **shape)
        if kind is Kind.WAIT:
            yield element("rect", style=f"fill: url(#{name}-wait)", **shape)
        yield element("text", words, x=x + 24, y=y)
        x += 24 + len(words) * LETTER + 22


def titled(trace: TraceLog, name: str) -> list[tuple[str, Launch]]:
    """The launches in a trace, with a title for each."""
    found = []
    for launch in launches(trace):
        running = sum(bar.kind is Kind.RUN and bar.overlaps(launch.finish, launch.end) and bar.start < launch.finish.start
                      for row in launch.mutexes.values() for bar in row.bars)
        found.append((f"{name}: a launch with {len(launch.mutexes)} vCPUs, {running or 'none'} of them in KVM_RUN", launch))
    return found


def figure(launch: Launch, title: str, name: str) -> Element:
    """The drawing in a page, with the same in words."""
    said = [element("li", line) for line in describe(launch)]
    return element("figure", element("div", timeline(launch, title, name), class_="scroll"),
                   element("figcaption", element("ul", *said)))
