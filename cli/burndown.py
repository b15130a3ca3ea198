"""A burndown for a person: a line a day, in plain characters, for terminals of every width."""

from __future__ import annotations

from typing import Any

from cli.tables import cell, terminal_width

Record = dict[str, Any]

WIDTH = 80
"""Where nobody says how wide a line may be."""
NARROWEST_BAR = 10
WIDEST_BAR = 60
DAY = 10
COLUMNS = (("remaining", "LEFT"), ("ideal", "IDEAL"), ("completed", "DONE"), ("added", "ADDED"), ("removed", "OUT"))
ALL_COLUMNS = (*COLUMNS, ("blocked", "BLOCKED"))
SPARED = ("removed", "added", "blocked", "ideal", "completed")
"""What is left out first where a line has no room."""
LISTED = 5
LEGEND = "# left   x blocked   | ideal"


def chart(found: Record) -> str:
    """What is left at the end of each day as a bar, with its figures as far as they have room."""
    if all(day["remaining"] is None for day in found["days"]):
        return "\n".join([*summary(found), "No day of it is known yet."])
    width = terminal_width() or WIDTH
    days = found["days"]
    columns = _fitting(days, width)
    widths = {name: max(len(heading), *(len(_figure(day, name)) for day in days)) for name, heading in columns}
    room = min(WIDEST_BAR, width - DAY - sum(2 + widths[name] for name, _ in columns) - 2)
    most = max(max(day["remaining"] or 0, day["ideal"] or 0) for day in days)
    lines = [_line("DAY", dict(columns), widths, "")]
    for day in days:
        bar = bar_of(day, most, room) if room >= NARROWEST_BAR else ""
        lines.append(_line(day["day"], {name: _figure(day, name) for name, _ in columns}, widths, bar))
    legend = [LEGEND] if room >= NARROWEST_BAR else []
    return "\n".join([*summary(found), "", *lines, *legend])


def summary(found: Record) -> list[str]:
    """What it comes to, in a few lines."""
    unit, sums = found["unit"], found[found["unit"]]
    ends = f" to {found['ends_on']}" if found["ends_on"] else ""
    began = f", from {found['began_on']}" if found["began_on"] else ","
    blocked = f", {cell(sums['blocked'])} blocked" if sums["blocked"] else ""
    unsized = found["open_without_points"]
    lines = [
        f"{found['kind'].capitalize()} {found['id']}: {found['status']}{began}{ends}".rstrip(","),
        f"{cell(sums['remaining'])} of {cell(sums['total'])} {unit} left{blocked}"
        + (f"; {unsized} open without points" if unsized and unit == "points" else ""),
        f"Pace: {_pace(found)}",
        f"Forecast: {_forecast(found['forecast'])}",
    ]
    elsewhere = found[f"open_without_{found['kind']}"]
    if found["left_open"]:
        listed = ", ".join(f"{one['session']} {one['id']}" for one in found["left_open"][:LISTED])
        more = " …" if len(found["left_open"]) > LISTED else ""
        lines.append(f"Its end left open: {listed}{more}")
    elif elsewhere and found["ended_on"] is None:
        lines.append(f"{elsewhere} open {'task' if elsewhere == 1 else 'tasks'} of the project: of no {found['kind']}")
    if found["damaged_sessions"]:
        lines.append(f"As last synced, since they cannot be read: {', '.join(found['damaged_sessions'])}")
    return lines


def bar_of(day: Record, most: float, room: int) -> str:
    """`####xx  |`: what is left, its end blocked, and where the ideal line is."""
    if day["remaining"] is None and day["ideal"] is None:
        return ""
    left = _scaled(day["remaining"] or 0, most, room)
    blocked = min(left, _scaled(day["blocked"] or 0, most, room))
    drawn = list(("#" * (left - blocked) + "x" * blocked).ljust(room))
    if day["ideal"]:
        drawn[_scaled(day["ideal"], most, room) - 1] = "|"
    return "".join(drawn).rstrip()


def _scaled(figure: float, most: float, room: int) -> int:
    """How many characters a figure takes; what is more than nothing is seen."""
    if figure <= 0 or most <= 0:
        return 0
    return max(1, min(room, round(figure * room / most)))


def _fitting(days: list[Record], width: int) -> list[tuple[str, str]]:
    columns = list(ALL_COLUMNS)
    for spared in ("", *SPARED):
        columns = [column for column in columns if column[0] != spared]
        taken = sum(2 + max(len(heading), *(len(_figure(day, name)) for day in days)) for name, heading in columns)
        if DAY + taken + 2 + NARROWEST_BAR <= width:
            break
    return columns


def _line(day: str, figures: dict[str, str], widths: dict[str, int], bar: str) -> str:
    cells = "".join(f"  {figures[name]:>{widths[name]}}" for name in figures)
    return f"{day:<{DAY}}{cells}  {bar}".rstrip()


def _figure(day: Record, name: str) -> str:
    number = day[name]
    return "–" if number is None else f"{round(number, 1):.1f}".removesuffix(".0")


def _pace(found: Record) -> str:
    pace, velocity = found["pace"], found["measured_velocity"]
    said = f"unknown ({pace['why']})" if pace["per_day"] is None else f"{pace['per_day']:g} {found['unit']} a day"
    if pace["per_day"] is not None:
        said += f" over the last {pace['days']:g} days"
    if velocity["per_sprint"] is not None:
        many = len(velocity["sprints"])
        last = "the last sprint ended with" if many == 1 else f"on average, the last {many} sprints ended with"
        said += f"; {last} {velocity['per_sprint']:g} points"
    return said


def _forecast(forecast: Record) -> str:
    if forecast["finishes_on"] is None:
        is_over = forecast["why"] in ("nothing is left", "it has ended")
        return str(forecast["why"]) if is_over else f"unknown ({forecast['why']})"
    late = {True: ", in time", False: ", after its end", None: ""}[forecast["in_time"]]
    return f"nothing is left on {forecast['finishes_on']}{late}"
