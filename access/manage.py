"""Keys and budgets: made, listed, changed, taken away; whoever calls commits."""

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import delete, extract, func, select, update
from sqlalchemy.orm import Session

import models
from access import caps, counters, keys, schemas
from access.caps import Cap, dollars
from models import ApiKey, BudgetPeriod, GenJob

# Every zone is off UTC by a multiple of this: no quarter belongs to two days.
QUARTER_SECONDS = 900


class KeyNotFound(Exception):
    """There is no key of this id."""


class BudgetNotFound(Exception):
    """There is no budget of this id."""


class BudgetOfSettings(Exception):
    """It is the one of SERVICE_BUDGET_USD, which the settings alone can change."""


class AmountMissing(Exception):
    """A key that has no cap is to get one, and no amount was sent."""


# Keys.


def add_key(session: Session, body: schemas.KeyRequest) -> schemas.NewKey:
    """Make a key; this is the one time that it is shown."""
    key, prefix, key_hash = keys.make()
    row = ApiKey(
        name=body.name,
        prefix=prefix,
        key_hash=key_hash,
        user_id=body.user_id,
        scopes=_scopes(body.scopes),
        expires_at=body.expires_at,
        rate_per_minute=body.rate_per_minute,
    )
    session.add(row)
    session.flush()
    _set_cap(session, row, body.cap)
    return schemas.NewKey(**_shown(session, row).model_dump(), key=key)


def change_key(session: Session, key_id: int, body: schemas.KeyChange) -> schemas.Key:
    """Change what was sent of a key. Raises KeyNotFound."""
    counters.wait_to_be_alone(session.connection())
    row = _key(session, key_id)
    if "name" in body.model_fields_set:
        row.name = body.name
    if "scopes" in body.model_fields_set:
        row.scopes = _scopes(body.scopes)
    if "expires_at" in body.model_fields_set:
        row.expires_at = body.expires_at
    if "rate_per_minute" in body.model_fields_set:
        row.rate_per_minute = body.rate_per_minute
    if "cap" in body.model_fields_set:
        _set_cap(session, row, body.cap)
    session.flush()
    return _shown(session, row)


def revoke_key(session: Session, key_id: int) -> None:
    """Let a key open nothing from now on. Raises KeyNotFound."""
    # Whoever opens a job with it at this moment is waited for.
    counters.wait_to_be_alone(session.connection())
    row = _key(session, key_id)
    row.revoked_at = row.revoked_at or models.utc_now()


def list_keys(session: Session) -> schemas.KeyList:
    """List all keys, the revoked ones too: jobs are theirs."""
    rows = session.scalars(select(ApiKey).order_by(ApiKey.id))
    spent = select(GenJob.key_id, counters.SPENT).where(GenJob.key_id.is_not(None))
    by_key = dict(session.execute(spent.group_by(GenJob.key_id)).tuples().all())
    return schemas.KeyList(keys=[_shown(session, row, by_key.get(row.id, 0)) for row in rows])


def _key(session: Session, key_id: int) -> ApiKey:
    row = session.get(ApiKey, key_id)
    if row is None:
        raise KeyNotFound
    return row


def _scopes(scopes: list[keys.Scope]) -> str:
    return " ".join(dict.fromkeys(scopes))


def _set_cap(
    session: Session, row: ApiKey, body: schemas.CapRequest | schemas.CapChange | None
) -> None:
    if body is None:
        if row.cap_id:
            remove_budget(session, row.cap_id)
        row.cap_id = None
        return
    budget = session.get(models.Budget, row.cap_id) if row.cap_id else None
    if budget is None:
        if "amount_usd" not in body.model_fields_set:
            raise AmountMissing
        budget = models.Budget(key_id=row.id, amount=0, period="month", time_zone="UTC")
        session.add(budget)
    budget.name = row.name
    _change(session, budget, body)
    row.cap_id = budget.id


def _change(
    session: Session, row: models.Budget, body: schemas.CapRequest | schemas.CapChange
) -> None:
    """Change what was sent of a cap. Be alone."""
    sent = body.model_fields_set
    if "amount_usd" in sent:
        if row.id and body.amount_usd > row.amount:
            # Of a larger cap, the same spending is a smaller share: people are told of it anew.
            periods = update(BudgetPeriod).where(BudgetPeriod.budget_id == row.id)
            session.execute(periods.values(alerted=0))
        row.amount = body.amount_usd
    if "period" in sent:
        row.period = body.period
    if "time_zone" in sent:
        row.time_zone = body.time_zone
    session.flush()


def _shown(session: Session, row: ApiKey, spent: int | None = None) -> schemas.Key:
    if spent is None:
        spent = session.scalar(select(counters.SPENT).where(GenJob.key_id == row.id))
    cap = None
    if row.cap_id and (found := counters.find(session.connection(), row.cap_id)):
        cap = _budget(session, found)
    return schemas.Key(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        user_id=row.user_id,
        scopes=row.scopes.split(),
        expires_at=row.expires_at,
        rate_per_minute=row.rate_per_minute,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
        spent=dollars(int(spent or 0)),
        left=cap.left if cap else None,
        cap=cap,
    )


# Budgets. `own` is the cap of the settings, whose id is 0.


def add_budget(session: Session, body: schemas.BudgetRequest) -> schemas.Budget:
    """Put a cap on a key, a user or the service. Raises KeyNotFound."""
    if body.key_id is not None:
        _key(session, body.key_id)
    row = models.Budget(
        name=body.name,
        key_id=body.key_id,
        user_id=body.user_id,
        amount=body.amount_usd,
        period=body.period,
        time_zone=body.time_zone,
    )
    session.add(row)
    session.flush()
    return _budget(session, _cap(session, None, row.id))


def list_budgets(session: Session, own: Cap | None) -> schemas.BudgetList:
    """List all caps, that of the settings first."""
    found = counters.all_caps(session.connection())
    if own:
        found.insert(0, own)
    return schemas.BudgetList(budgets=[_budget(session, cap) for cap in found])


def budget(session: Session, own: Cap | None, budget_id: int) -> schemas.BudgetItem:
    """Show one cap, and its period by day. Raises BudgetNotFound."""
    cap = _cap(session, own, budget_id)
    shown = _budget(session, cap)
    return schemas.BudgetItem(**shown.model_dump(), days=_days(session, cap))


def change_budget(session: Session, budget_id: int, body: schemas.BudgetChange) -> schemas.Budget:
    """Change what was sent of a cap. Raises BudgetNotFound and BudgetOfSettings."""
    if budget_id == caps.THE_SETTINGS:
        raise BudgetOfSettings
    counters.wait_to_be_alone(session.connection())
    row = session.get(models.Budget, budget_id)
    if row is None:
        raise BudgetNotFound
    if "name" in body.model_fields_set:
        row.name = body.name
    _change(session, row, body)
    return _budget(session, _cap(session, None, budget_id))


def remove_budget(session: Session, budget_id: int) -> None:
    """Take a cap away. Raises BudgetNotFound and BudgetOfSettings."""
    if budget_id == caps.THE_SETTINGS:
        raise BudgetOfSettings
    counters.wait_to_be_alone(session.connection())
    session.execute(delete(BudgetPeriod).where(BudgetPeriod.budget_id == budget_id))
    removed = session.scalar(
        delete(models.Budget).where(models.Budget.id == budget_id).returning(models.Budget.id)
    )
    if removed is None:
        raise BudgetNotFound
    for key in session.scalars(select(ApiKey).where(ApiKey.cap_id == budget_id)):
        key.cap_id = None


def _cap(session: Session, own: Cap | None, budget_id: int) -> Cap:
    cap = own if budget_id == caps.THE_SETTINGS else counters.find(session.connection(), budget_id)
    if cap is None:
        raise BudgetNotFound
    return cap


def _budget(session: Session, cap: Cap) -> schemas.Budget:
    window = cap.window(models.utc_now())
    spent, held = counters.read(session.connection(), cap, window)
    left = caps.trillionths(cap.amount_usd) - spent - held
    return schemas.Budget(
        id=cap.budget_id,
        name=cap.name,
        key_id=cap.key_id,
        user_id=cap.user_id,
        amount_usd=cap.amount_usd,
        period=cap.period,
        time_zone=cap.time_zone,
        starts_at=schemas.shown_end(window.starts_at),
        ends_at=schemas.shown_end(window.ends_at),
        spent=dollars(spent),
        held=dollars(held),
        left=dollars(max(0, left)),
    )


def _days(session: Session, cap: Cap) -> list[schemas.BudgetDay]:
    # Added up by quarters of an hour, which are of one day in every time zone.
    seconds = extract("epoch", GenJob.created_at)
    quarter = seconds - seconds % QUARTER_SECONDS
    in_period = counters.of_cap(cap, cap.window(models.utc_now()))
    query = (
        select(quarter, counters.SPENT, counters.HELD, func.count())
        .where(in_period, GenJob.created_at.is_not(None))
        .group_by(quarter)
    )
    zone = ZoneInfo(cap.time_zone)
    days: defaultdict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    for second, *sums in session.execute(query):
        day = datetime.fromtimestamp(int(second), UTC).astimezone(zone).date().isoformat()
        days[day] = [total + Decimal(part) for total, part in zip(days[day], sums, strict=True)]
    return [
        schemas.BudgetDay(
            date=datetime.fromisoformat(day).date(),
            spent=dollars(int(spent)),
            held=dollars(int(held)),
            jobs=int(jobs),
        )
        for day, (spent, held, jobs) in sorted(days.items())
    ]
