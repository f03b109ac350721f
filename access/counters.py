"""The counters of caps in the database: read, made, locked and written."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    TextClause,
    and_,
    bindparam,
    case,
    cast,
    func,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

import models
from access.caps import (
    LAST,
    THE_SETTINGS,
    TRILLION,
    Cap,
    Caps,
    Charge,
    Counter,
    Window,
    dollars,
    trillionths,
)

# Whoever writes jobs holds the lock with the others; who makes a counter, alone. Any number will
# do, so long as every worker uses the same one.
LOCK = 7_236_416
JOB, BUDGET, COUNTER = models.GenJob, models.Budget, models.BudgetPeriod
CAPPED = (
    BUDGET.name,
    BUDGET.amount,
    BUDGET.period,
    BUDGET.time_zone,
    BUDGET.key_id,
    BUDGET.user_id,
)
COUNTED = (
    COUNTER.id,
    COUNTER.budget_id,
    COUNTER.starts_at,
    COUNTER.ends_at,
    COUNTER.spent,
    COUNTER.held,
    COUNTER.alerted,
)
BUDGETS = select(BUDGET.id.label("budget_id"), *CAPPED)
UPDATE_COUNTERS = update(COUNTER).where(COUNTER.id == bindparam("counter_id"))
# The budgets that may bear on some jobs, and whether there is one of the settings. Statements are
# made once: making one takes as long as asking it.
KEYS: BindParameter[int] = bindparam("keys", expanding=True)
USERS: BindParameter[int] = bindparam("users", expanding=True)
BEARS = or_(
    and_(BUDGET.key_id.is_(None), BUDGET.user_id.is_(None)),
    BUDGET.key_id.in_(KEYS),
    BUDGET.user_id.in_(USERS),
)
BEARING = text(
    "SELECT id AS budget_id, name, amount, period, time_zone, key_id, user_id FROM budgets"
    " WHERE key_id IS NULL AND user_id IS NULL OR key_id IN :keys OR user_id IN :users"
    " UNION ALL SELECT budget_id, NULL, NULL, NULL, NULL, NULL, NULL FROM budget_periods"
    f" WHERE budget_id = {THE_SETTINGS}"
).bindparams(KEYS, USERS)
# In one message with the lock: what is read is what was there once it was held.
SHARED_AND_BEARING = text(
    f"SAVEPOINT unlocked; SELECT pg_advisory_xact_lock_shared({LOCK}); {BEARING.text}"
).bindparams(KEYS, USERS)
ALONE = text(f"SELECT pg_advisory_xact_lock({LOCK})")
UNLOCK = text("ROLLBACK TO SAVEPOINT unlocked")
LOCK_COUNTERS = (
    select(*COUNTED, *CAPPED)
    .join(BUDGET, BUDGET.id == COUNTER.budget_id, isouter=True)
    .where(
        COUNTER.starts_at <= bindparam("last"),
        COUNTER.ends_at > bindparam("first"),
        or_(COUNTER.budget_id == THE_SETTINGS, and_(BUDGET.id.is_not(None), BEARS)),
    )
    .order_by(COUNTER.id)
    .with_for_update(of=COUNTER)
)


def of_row(row: Any) -> Cap:
    """Return the cap of a row with its `budget_id` and the columns CAPPED."""
    whose = "the service"
    if row.key_id is not None:
        whose = f"key {row.key_id}"
    elif row.user_id is not None:
        whose = f"user {row.user_id}"
    return Cap(
        row.budget_id,
        row.name or f"The cap on {whose}",
        Decimal(str(row.amount)),
        row.period,
        row.time_zone,
        row.key_id,
        row.user_id,
    )


# What jobs add up to, as caps.Standing has it of one.
_known = func.coalesce(JOB.estimated_cost, JOB.max_cost, 0.0)
_pending = JOB.status == "pending"


def _total(is_counted: ColumnElement[bool], usd: ColumnElement[float]) -> ColumnElement[int]:
    amount = cast(func.round(usd * TRILLION), BigInteger)
    return func.coalesce(func.sum(case((is_counted, amount), else_=0)), 0)


SPENT = _total(~func.coalesce(_pending, False), _known)
HELD = _total(_pending, func.coalesce(JOB.max_cost, 0.0))


def of_cap(cap: Cap, window: Window) -> ColumnElement[bool]:
    """Tell the jobs that the cap counts in this period."""
    tests: list[ColumnElement[bool]] = []
    if cap.key_id is not None:
        tests.append(JOB.key_id == cap.key_id)
    if cap.user_id is not None:
        tests.append(JOB.user_id == cap.user_id)
    if window.ends_at != LAST:  # jobs of another program may be undated
        tests += [JOB.created_at >= window.starts_at, JOB.created_at < window.ends_at]
    return and_(true(), *tests)


def lock(
    connection: Connection,
    own: Cap | None,
    charges: Sequence[Charge],
    opening_at: datetime | None = None,
) -> Caps:
    """Lock the counters of these jobs, in one order for everyone. Where some are to be opened at
    `opening_at`, the counters of that moment are there afterwards. `own` is the settings' cap. To
    be called first of all in a transaction; SQLite's must be IMMEDIATE."""
    if not charges:
        return Caps([])
    caps, is_counted = _bearing(connection, own, charges, SHARED_AND_BEARING)
    if not (caps or is_counted):
        return Caps([])
    counters = _locked(connection, own, charges)
    if opening_at is not None and (missing := _missing(caps, counters, opening_at)):
        if connection.dialect.name == "postgresql":
            # With the others still there, two who wait to be alone would wait for each other.
            connection.execute(UNLOCK)
        wait_to_be_alone(connection)
        for cap in missing:
            _make(connection, cap, cap.window(opening_at))
        counters = _locked(connection, own, charges)
    return Caps(counters)


def find(connection: Connection, budget_id: int) -> Cap | None:
    """Return the cap of this budget, if there is one."""
    row = connection.execute(BUDGETS.where(BUDGET.id == budget_id)).first()
    return None if row is None else of_row(row)


def all_caps(connection: Connection) -> list[Cap]:
    """Return the caps of all budgets, in the order in which they were made."""
    return [of_row(row) for row in connection.execute(BUDGETS.order_by(BUDGET.id))]


def wait_to_be_alone(connection: Connection) -> None:
    """Wait until nobody opens or settles a job, and let nobody until the transaction ends."""
    # On SQLite, whoever writes is alone.
    if connection.dialect.name == "postgresql":
        connection.execute(ALONE)


def _bearing(
    connection: Connection, own: Cap | None, charges: Sequence[Charge], read: TextClause = BEARING
) -> tuple[list[Cap], bool]:
    """Return the caps that may bear on these jobs, and whether there are counters of the settings'
    cap, be it in force here or not."""
    if connection.dialect.name == "sqlite":
        read = BEARING
    caps, is_counted = [], False
    for row in connection.execute(read, _whose(charges)):
        if row.budget_id == THE_SETTINGS:
            is_counted = True
        else:
            caps.append(of_row(row))
    if own:
        caps.append(own)
    return caps, is_counted


def _whose(charges: Iterable[Charge]) -> dict[str, list[int]]:
    keys = {charge.key_id for charge in charges if charge.key_id is not None}
    users = {charge.user_id for charge in charges if charge.user_id is not None}
    return {"keys": list(keys), "users": list(users)}


def _missing(caps: Sequence[Cap], counters: Iterable[Counter], moment: datetime) -> list[Cap]:
    """Return the caps that have no counter for this moment yet."""
    there = {(each.budget_id, each.window) for each in counters}
    return [cap for cap in caps if (cap.budget_id, cap.window(moment)) not in there]


def _make(connection: Connection, cap: Cap, window: Window) -> None:
    spent, held = connection.execute(added_up(cap, window)).one()
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    row = {
        "budget_id": cap.budget_id,
        "starts_at": window.starts_at,
        "ends_at": window.ends_at,
        "spent": int(spent),
        "held": int(held),
    }
    connection.execute(dialect.insert(COUNTER).values(row).on_conflict_do_nothing())


def _locked(connection: Connection, own: Cap | None, charges: Sequence[Charge]) -> list[Counter]:
    moments = [charge.opened_at for charge in charges]
    within = {"first": min(moments), "last": max(moments), **_whose(charges)}
    counters = []
    for row in connection.execute(LOCK_COUNTERS, within):
        cap = own if row.budget_id == THE_SETTINGS else of_row(row)
        window = Window(row.starts_at, row.ends_at)
        # A cap that has another period by now, or the settings of another worker: kept up only.
        bears = cap is not None and cap.has(window)
        counters.append(
            Counter(
                row.id,
                row.budget_id,
                row.key_id,
                row.user_id,
                window,
                row.spent,
                row.held,
                row.alerted,
                cap if bears else None,
            )
        )
    return counters


def write(connection: Connection, caps: Caps) -> None:
    """Write the counters that have changed."""
    rows = []
    for each in caps.changed:
        values = {"spent": each.spent, "held": each.held, "alerted": each.alerted}
        rows.append({"counter_id": each.id, **values})
    if rows:
        connection.execute(UPDATE_COUNTERS, rows)


def read(connection: Connection, cap: Cap, window: Window) -> tuple[int, int]:
    """Return what is spent and held of a cap in this period, as its counter has it, or where there
    is none yet, the jobs."""
    counter = select(COUNTER.spent, COUNTER.held).where(
        COUNTER.budget_id == cap.budget_id,
        COUNTER.starts_at == window.starts_at,
        COUNTER.ends_at == window.ends_at,
    )
    row = connection.execute(counter).first() or connection.execute(added_up(cap, window)).one()
    spent, held = row
    return int(spent), int(held)


def added_up(cap: Cap, window: Window) -> Select[int, int]:
    """What the jobs of this period have spent and hold."""
    return select(SPENT, HELD).where(of_cap(cap, window))


def left_usd(connection: Connection, own: Cap | None, charge: Charge) -> Decimal | None:
    """Return the least that any cap has left for such a job; None where none bears on it."""
    left = []
    caps, _ = _bearing(connection, own, [charge])
    for cap in caps:
        spent, held = read(connection, cap, cap.window(charge.opened_at))
        left.append(trillionths(cap.amount_usd) - spent - held)
    return dollars(max(0, min(left))) if left else None
