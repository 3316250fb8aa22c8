"""What dashboards are put together from: queries, panels, rows; as much of Grafana as we use."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
JSON = dict[str, Any]

WIDTH = 24
_SCHEMA = 39
_SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True)
class Query:
    """An expression of PromQL; `legend` names its series, `instant` asks for the last value."""

    expr: str
    legend: str = "__auto"
    instant: bool = False


@dataclass(frozen=True)
class Panel:
    """One panel: a kind of Grafana's, what it shows, and how wide and high it is.

    `options` and `field` are Grafana's own words for the kind and for its fields, `transform` is
    done to what the queries gave.
    """

    kind: str
    title: str
    tells: str
    queries: Sequence[Query]
    width: int
    height: int
    unit: str = "short"
    options: Mapping[str, object] | None = None
    field: Mapping[str, object] | None = None
    overrides: Sequence[Mapping[str, object]] = ()
    transform: Sequence[Mapping[str, object]] = ()


@dataclass(frozen=True)
class Row:
    """Panels under a heading, from left to right; too many go on below."""

    title: str
    panels: Sequence[Panel]


def stat(
    title: str,
    expr: str,
    *,
    tells: str,
    unit: str = "short",
    bad_above: float | None = None,
    good_above: float | None = None,
    mappings: Sequence[JSON] = (),
    width: int = 4,
) -> Panel:
    """One large figure; red above `bad_above`, or green only above `good_above`."""
    steps: list[JSON] = [{"color": "blue", "value": None}]
    if bad_above is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": bad_above}]
    if good_above is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": good_above}]
    return Panel(
        "stat", title, tells, [Query(expr, instant=True)], width, 4, unit,
        options={
            "colorMode": "background_solid", "graphMode": "none", "textMode": "value",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
        field={"thresholds": {"mode": "absolute", "steps": steps}, "mappings": list(mappings)},
    )  # fmt: skip


def curves(
    title: str,
    *queries: Query,
    tells: str,
    unit: str = "short",
    stacked: bool = False,
    width: int = 12,
) -> Panel:
    """Figures along time."""
    return Panel(
        "timeseries", title, tells, queries, width, 8, unit,
        options={
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        field={
            "min": 0,
            "custom": {
                "lineWidth": 2, "fillOpacity": 40 if stacked else 5, "showPoints": "never",
                "stacking": {"mode": "normal" if stacked else "none"},
            },
        },
    )  # fmt: skip


def alerts(title: str, severity: str, *, tells: str, width: int = WIDTH) -> Panel:
    """What calls somebody now."""
    firing = f'ALERTS{{alertstate="firing",alertname=~"Lastmetre.*",severity=~"{severity}"}}'
    hidden = ("Time", "Value", "__name__", "alertstate", "job")
    return Panel(
        "table", title, tells, [Query(firing, instant=True)], width, 6,
        transform=[{"id": "organize", "options": {"excludeByName": dict.fromkeys(hidden, True)}}],
    )  # fmt: skip


def table(
    title: str, key: str, columns: Mapping[str, tuple[str, str]], *, tells: str, sort: str
) -> Panel:
    """One line for each `key`: a column for each title, of an expression and its unit."""
    letters = [chr(ord("A") + n) for n in range(len(columns))]
    values = [f"Value #{letter}" for letter in letters]
    asked = [Query(expr, instant=True) for expr, _ in columns.values()]
    return Panel(
        "table", title, tells, asked, WIDTH, 9,
        options={"sortBy": [{"displayName": sort, "desc": True}], "footer": {"show": False}},
        overrides=[
            {
                "matcher": {"id": "byName", "options": column},
                "properties": [{"id": "unit", "value": unit}],
            }
            for column, (_, unit) in columns.items()
        ],
        transform=[
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True, "round": True},
                    "renameByName": dict(zip(values, columns, strict=True)),
                    "indexByName": {
                        name: place for place, name in enumerate([key, "name", *values])
                    },
                },
            },
        ],
    )  # fmt: skip


def board(
    uid: str, title: str, tells: str, rows: Sequence[Row], variables: Sequence[JSON] = ()
) -> JSON:
    """Put a dashboard together."""
    source = {
        "name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus",
        "current": {}, "hide": 0,
    }  # fmt: skip
    return {
        "uid": uid, "title": title, "description": tells, "tags": ["lastmetre"],
        "schemaVersion": _SCHEMA, "version": 1, "editable": False, "graphTooltip": 1,
        "refresh": "15s", "time": {"from": "now-12h", "to": "now"}, "timezone": "browser",
        "templating": {"list": [source, *variables]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(_laid_out(rows), 1)],
    }  # fmt: skip


def variable(name: str, label: str, query: str, regex: str) -> JSON:
    """A choice at the top of a dashboard, asked of Prometheus."""
    return {
        "name": name, "label": label, "type": "query", "datasource": _SOURCE, "regex": regex,
        "query": {"query": query, "refId": name}, "definition": query, "refresh": 2, "sort": 4,
        "hide": 0, "multi": False, "includeAll": False, "current": {}, "options": [],
    }  # fmt: skip


def text(board: JSON) -> str:
    """Write a dashboard down, the same every time."""
    return json.dumps(board, ensure_ascii=False, indent=1) + "\n"


def queries(board: JSON) -> Iterator[str]:
    """Every expression that a dashboard asks, those of its variables too."""
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    for each in board["templating"]["list"]:
        if each["type"] == "query":
            yield each["definition"].removeprefix("query_result(").removesuffix(")")


def _laid_out(rows: Sequence[Row]) -> Iterator[JSON]:
    top = 0
    for row in rows:
        yield {
            "type": "row", "title": row.title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
        }  # fmt: skip
        top, left, height = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > WIDTH:
                top, left, height = top + height, 0, 0
            yield _panel(panel, left, top)
            left, height = left + panel.width, max(height, panel.height)
        top += height


def _panel(panel: Panel, left: int, top: int) -> JSON:
    return {
        "type": panel.kind, "title": panel.title, "description": panel.tells,
        "datasource": _SOURCE,
        "gridPos": {"x": left, "y": top, "w": panel.width, "h": panel.height},
        "targets": [
            {
                "refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": query.expr,
                "legendFormat": query.legend, "range": not query.instant, "instant": query.instant,
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for number, query in enumerate(panel.queries)
        ],
        "options": dict(panel.options or {}),
        "fieldConfig": {
            "defaults": {"unit": panel.unit, **(panel.field or {})},
            "overrides": list(panel.overrides),
        },
        "transformations": list(panel.transform),
    }  # fmt: skip
