"""What campaigns report: each event counts once, however often and wherever it is sent."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Executable, func, literal_column, select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Session

import models
from analytics import schemas


class UnknownContent(Exception):
    """A metric names content that there is not."""


class EventIdReused(Exception):
    """Another metric of the project has this event_id, and other values."""


@dataclass
class Added:
    """What became of the metrics, and why some were refused, by their place in what was sent;
    `names` are those of the metrics that are stored now."""

    accepted: int = 0
    duplicates: int = 0
    names: set[str] = field(default_factory=set)
    refused: dict[int, UnknownContent | EventIdReused] = field(default_factory=dict)


METRIC, CONTENT = models.Metric, models.GeneratedContent
COLUMNS = ", ".join(schemas.Metric.model_fields)
# Where another transaction is writing the same event, these wait for its end, and then return
# nothing. PostgreSQL takes all rows as one JSON parameter: a third of the work of thousands.
INSERT_NEW: dict[str, Executable] = {
    "postgresql": text(
        f"INSERT INTO metrics ({COLUMNS})"
        f" SELECT {COLUMNS} FROM json_populate_recordset(NULL::metrics, :rows)"
        " ON CONFLICT (coalesce(project_id, 0), event_id) WHERE event_id IS NOT NULL DO NOTHING"
        " RETURNING project_id, event_id"
    ),
    "sqlite": sqlite.insert(METRIC)
    .on_conflict_do_nothing(
        index_elements=[text("coalesce(project_id, 0)"), METRIC.event_id],
        index_where=text("event_id IS NOT NULL"),
    )
    .returning(METRIC.project_id, METRIC.event_id),
}
COMPARED = ("metric_name", "metric_value", "campaign_id", "content_id")

Event = tuple[int, str, int]
Row = Mapping[Any, Any]


def add(session: Session, metrics: Mapping[int, schemas.Metric]) -> Added:
    """Store these metrics, by their place in what was sent. The caller commits."""
    now = models.utc_now()
    added = Added()
    contents = _known(session, {metric.content_id for metric in metrics.values()})
    firsts: dict[Event, Row] = {}
    for place, metric in metrics.items():
        if metric.content_id not in contents:
            added.refused[place] = UnknownContent()
        else:
            row = {**vars(metric), "timestamp": metric.timestamp or now}
            firsts.setdefault(_event(place, metric), row)
    new = _insert(session, firsts)
    added.names = {row["metric_name"] for row in new.values()}
    stored = _stored(session, firsts.keys() - new.keys()) | new
    for place, metric in metrics.items():
        event = _event(place, metric)
        if place in added.refused:
            continue
        if new.pop(event, None):
            added.accepted += 1
        elif _is_same(metric, stored[event]):
            added.duplicates += 1
        else:
            added.refused[place] = EventIdReused()
    return added


def _known(session: Session, content_ids: set[int | None]) -> set[int | None]:
    """Those of the ids that there are; no id is known too."""
    wanted = content_ids - {None}
    if not wanted:
        return {None}
    return {None, *session.scalars(select(CONTENT.id).where(CONTENT.id.in_(wanted)))}


def _event(place: int, metric: schemas.Metric) -> Event:
    """What tells the metric from others: its place, where it has no id of its own."""
    project_id = metric.project_id or 0
    return (project_id, "", place) if metric.event_id is None else (project_id, metric.event_id, 0)


def _insert(session: Session, rows: Mapping[Event, Row]) -> dict[Event, Row]:
    """Those of the rows that are new."""
    if not rows:
        return {}
    # In one order: two transactions that write the same events cannot block each other.
    ordered = [rows[event] for event in sorted(rows)]
    connection = session.connection()
    kind = connection.dialect.name
    sent = (
        {"rows": json.dumps(ordered, ensure_ascii=False, default=str)}
        if kind == "postgresql"
        else ordered
    )
    inserted = connection.execute(INSERT_NEW[kind], sent)
    new = {(row.project_id or 0, row.event_id, 0) for row in inserted}
    return {event: row for event, row in rows.items() if event in new or row["event_id"] is None}


def _stored(session: Session, events: Iterable[Event]) -> dict[Event, Row]:
    """The rows of events that were there already."""
    by_project: defaultdict[int, list[str]] = defaultdict(list)
    for project_id, event_id, _ in events:
        by_project[project_id].append(event_id)
    stored: dict[Event, Row] = {}
    for project_id, event_ids in by_project.items():
        rows = session.connection().execute(
            select(METRIC.__table__).where(
                func.coalesce(METRIC.project_id, literal_column("0")) == project_id,
                METRIC.event_id.in_(event_ids),
            )
        )
        stored |= {(project_id, row["event_id"], 0): row for row in rows.mappings()}
    return stored


def _is_same(metric: schemas.Metric, stored: Row) -> bool:
    """Whether it was sent before; a time left out is not compared."""
    at = metric.timestamp
    return (at is None or at == stored["timestamp"]) and all(
        getattr(metric, name) == stored[name] for name in COMPARED
    )
