"""What campaigns report: each event counts once, however often and wherever it is sent."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Row, func, literal_column, select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Session

import models
from analytics import schemas


class UnknownContent(Exception):
    """A metric names content that there is not."""


class EventIdReused(Exception):
    """Another metric of the project has this event_id, and other values."""


@dataclass(frozen=True)
class Added:
    """What became of the metrics, and why some were refused, by their index in what was sent;
    `names` are those of the metrics that are stored now."""

    accepted: int
    duplicates: int
    names: set[str]
    refused: dict[int, UnknownContent | EventIdReused]


class Event(NamedTuple):
    """What tells a metric from others: its index in what was sent, where it has no id of its
    own."""

    project_id: int
    event_id: str
    position: int

    @classmethod
    def of(cls, index: int, metric: schemas.Metric) -> "Event":
        if metric.event_id is None:
            return cls(metric.project_id or 0, "", index)
        return cls(metric.project_id or 0, metric.event_id, 0)


METRIC, CONTENT = models.Metric, models.GeneratedContent
COLUMNS = ", ".join(schemas.Metric.model_fields)
# Where another transaction is writing the same event, these wait for its end, and then return
# nothing. PostgreSQL takes all rows as one JSON parameter: a third of the work of thousands.
INSERT_JSON = text(
    f"INSERT INTO metrics ({COLUMNS})"
    f" SELECT {COLUMNS.replace('timestamp', 'coalesce(timestamp, :now)')}"
    " FROM json_populate_recordset(NULL::metrics, :rows)"
    " ON CONFLICT (coalesce(project_id, 0), event_id) WHERE event_id IS NOT NULL DO NOTHING"
    " RETURNING project_id, event_id"
)
INSERT = (
    sqlite.insert(METRIC)
    .on_conflict_do_nothing(
        index_elements=[text("coalesce(project_id, 0)"), METRIC.event_id],
        index_where=text("event_id IS NOT NULL"),
    )
    .returning(METRIC.project_id, METRIC.event_id)
)


def add(session: Session, metrics: Mapping[int, schemas.Metric]) -> Added:
    """Store these metrics, by their index in what was sent. The caller commits."""
    known = _known(session, metrics.values())
    refused: dict[int, UnknownContent | EventIdReused] = {}
    events: dict[int, Event] = {}
    firsts: dict[Event, schemas.Metric] = {}
    for index, metric in metrics.items():
        if metric.content_id not in known:
            refused[index] = UnknownContent()
            continue
        events[index] = Event.of(index, metric)
        firsts.setdefault(events[index], metric)
    # One statement for all that may be new; only what was there already is read.
    new = _insert(session, firsts)
    stored = _stored(session, firsts.keys() - new.keys())
    duplicates = 0
    for index, event in events.items():
        metric = metrics[index]
        first = new.get(event)
        if metric is first:
            continue
        if _is_same(metric, first or stored[event]):
            duplicates += 1
        else:
            refused[index] = EventIdReused()
    names = {metric.metric_name for metric in new.values()}
    return Added(len(new), duplicates, names, refused)


def _known(session: Session, metrics: Iterable[schemas.Metric]) -> set[int | None]:
    """Return the ids of the content that these metrics name and that there is, and None."""
    known: set[int | None] = {None}
    named = {metric.content_id for metric in metrics} - known
    if named:
        known.update(session.scalars(select(CONTENT.id).where(CONTENT.id.in_(named))))
    return known


def _insert(
    session: Session, metrics: Mapping[Event, schemas.Metric]
) -> dict[Event, schemas.Metric]:
    """Store those of the metrics that are new, and return them."""
    if not metrics:
        return {}
    # In one order: two transactions that write the same events cannot block each other.
    ordered = [metrics[event] for event in sorted(metrics)]
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        rows = schemas.METRICS.dump_json(ordered).decode()
        returned = connection.execute(INSERT_JSON, {"rows": rows, "now": models.utc_now()})
    else:
        returned = connection.execute(INSERT, _rows(ordered))
    new = {Event(row.project_id or 0, row.event_id, 0) for row in returned}
    new.update(event for event in metrics if not event.event_id)
    return {event: metric for event, metric in metrics.items() if event in new}


def _rows(metrics: list[schemas.Metric]) -> list[dict[str, object]]:
    now = models.utc_now()
    rows: list[dict[str, object]] = schemas.METRICS.dump_python(metrics)
    for row in rows:
        row["timestamp"] = row["timestamp"] or now
    return rows


def _stored(session: Session, events: Iterable[Event]) -> dict[Event, Row[Any]]:
    """Return the rows of events that were there already."""
    by_project: defaultdict[int, list[str]] = defaultdict(list)
    for event in events:
        by_project[event.project_id].append(event.event_id)
    stored: dict[Event, Row[Any]] = {}
    for project_id, event_ids in by_project.items():
        query = select(METRIC.__table__).where(
            func.coalesce(METRIC.project_id, literal_column("0")) == project_id,
            METRIC.event_id.in_(event_ids),
        )
        for row in session.execute(query):
            stored[Event(project_id, row.event_id, 0)] = row
    return stored


def _is_same(metric: schemas.Metric, stored: schemas.Metric | Row[Any]) -> bool:
    """Tell whether the metric was sent before; a time left out is not compared."""
    return (
        metric.timestamp in (None, stored.timestamp)
        and metric.metric_name == stored.metric_name
        and metric.metric_value == stored.metric_value
        and metric.campaign_id == stored.campaign_id
        and metric.content_id == stored.content_id
    )
