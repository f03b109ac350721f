"""Caps: what may be spent in a period, decided in the transaction that opens a job.

Spent + held + the most the new job can cost must not be above the cap. A job belongs to the period
in which it was opened. Each cap has one counter for each of its periods, a row that a group of jobs
locks once, however many they are; the first job of a period makes it, by adding up the jobs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from settings import Settings

Period = Literal["day", "week", "month", "total"]
DAYS = {"day": 1, "week": 7, "month": 31}  # or a little more than one

# Amounts are whole trillionths of a dollar: sums of them are exact in both databases, and every
# price is a multiple of one.
TRILLION = 10**12
ALERTS = (80, 100)  # percent of a cap
THE_SETTINGS = 0
FIRST, LAST = datetime(1, 1, 1), datetime(9999, 12, 31)


class Window(NamedTuple):
    """From when to when, in UTC."""

    starts_at: datetime
    ends_at: datetime

    def __contains__(self, moment: object) -> bool:
        return isinstance(moment, datetime) and self.starts_at <= moment < self.ends_at


class Charge(NamedTuple):
    """Whose job it is, and when it was opened."""

    key_id: int | None
    user_id: int | None
    opened_at: datetime


@dataclass(frozen=True)
class Cap:
    """So much may be spent in each period by one key, by one user, or by all together."""

    budget_id: int
    name: str
    amount_usd: Decimal
    period: Period
    time_zone: str
    key_id: int | None = None
    user_id: int | None = None

    def window(self, moment: datetime) -> Window:
        """Return the period that this moment is in."""
        if self.period == "total":
            return Window(FIRST, LAST)
        zone = ZoneInfo(self.time_zone)
        first = moment.replace(tzinfo=UTC).astimezone(zone).date()
        if self.period == "week":
            first -= timedelta(days=first.weekday())
        elif self.period == "month":
            first = first.replace(day=1)
        last = first + timedelta(days=DAYS[self.period])
        if self.period == "month":
            last = last.replace(day=1)
        return Window(_midnight(first, zone), _midnight(last, zone))

    def has(self, window: Window) -> bool:
        """Tell whether it is one of its periods."""
        # Of the first moment there is, no time zone knows the date.
        if window.ends_at == LAST:
            return self.period == "total"
        return self.window(window.starts_at) == window

    def __str__(self) -> str:
        each = "in all" if self.period == "total" else f"per {self.period} ({self.time_zone})"
        return f"{self.name}, {shown(self.amount_usd)} {each}"


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC).replace(tzinfo=None)


def of_settings(settings: Settings) -> Cap | None:
    """Return the cap that the settings put on the whole service."""
    if settings.service_budget_usd is None:
        return None
    return Cap(
        THE_SETTINGS,
        "SERVICE_BUDGET_USD",
        settings.service_budget_usd,
        settings.service_budget_period,
        settings.service_budget_time_zone,
    )


class CapReached(Exception):
    """A job could cost more than a cap has left; `str()` says which cap, and all the amounts."""

    def __init__(self, reason: str, alerts: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.alerts = alerts


def trillionths(usd: Decimal | float | None) -> int:
    return round(float(usd or 0) * TRILLION)


def dollars(amount: int) -> Decimal:
    """Return a sum in US dollars."""
    return Decimal(amount) / TRILLION


def shown(usd: Decimal) -> str:
    """Write an amount for people: to the cent, or as far as it goes."""
    return f"${usd:.2f}" if usd == round(usd, 2) else f"${usd.normalize():f}"


class Standing(NamedTuple):
    """How a job stands: pending, it holds the most that it can cost; ended, it has spent its cost,
    or where nobody knows that, the most."""

    status: str | None
    cost_usd: float | None
    max_cost_usd: float | None

    @property
    def held(self) -> int:
        return trillionths(self.max_cost_usd) if self.status == "pending" else 0

    @property
    def spent(self) -> int:
        if self.status == "pending":
            return 0
        return trillionths(self.max_cost_usd if self.cost_usd is None else self.cost_usd)


@dataclass
class Counter:
    """A counter that this transaction has locked. `cap` is None where it is only kept up."""

    id: int
    budget_id: int
    key_id: int | None
    user_id: int | None
    window: Window
    spent: int
    held: int
    alerted: int
    cap: Cap | None
    is_changed: bool = field(default=False)

    def counts(self, charge: Charge) -> bool:
        if self.key_id not in (None, charge.key_id) or self.user_id not in (None, charge.user_id):
            return False
        return charge.opened_at in self.window

    @property
    def left(self) -> int:
        assert self.cap
        return trillionths(self.cap.amount_usd) - self.spent - self.held

    def add(self, spent: int, held: int) -> None:
        self.spent += spent
        self.held += held
        self.is_changed = True

    def alerts(self, *, is_refusing: bool = False) -> list[str]:
        """Say once in a period what share of the cap is spent; a request that it had to refuse once
        most is spent means that all is."""
        amount = trillionths(self.cap.amount_usd) if self.cap else 0
        if not amount:
            return []  # a cap of nothing has nothing to tell
        texts = []
        for percent in ALERTS:
            is_reached = 100 * self.spent >= percent * amount
            is_reached |= is_refusing and 100 * self.spent >= ALERTS[0] * amount
            if is_reached and self.alerted < percent:
                self.alerted, self.is_changed = percent, True
                state = f"{percent} % is spent"
                if 100 * self.spent < percent * amount:
                    state = f"{percent} %, what is left was too little for a request"
                texts.append(f"{self.cap}: {state}. {self.standing()}")
        return texts

    def standing(self) -> str:
        assert self.cap
        spent, held = shown(dollars(self.spent)), shown(dollars(self.held))
        left = shown(dollars(max(0, self.left)))
        amounts = f"{spent} is spent, {held} is held by running requests, {left} is left."
        if self.cap.period == "total":
            return f"{amounts} It does not start anew."
        zone = ZoneInfo(self.cap.time_zone)
        anew = self.window.ends_at.replace(tzinfo=UTC).astimezone(zone)
        return f"{amounts} It starts anew at {anew.isoformat()}."


class Caps:
    """The counters of a group of jobs, locked until the transaction ends."""

    def __init__(self, counters: Sequence[Counter]) -> None:
        self._counters = counters

    def __bool__(self) -> bool:
        return bool(self._counters)

    @property
    def changed(self) -> list[Counter]:
        return [counter for counter in self._counters if counter.is_changed]

    def of(self, charge: Charge) -> list[Counter]:
        return [counter for counter in self._counters if counter.counts(charge)]

    def hold(self, charge: Charge, max_cost_usd: Decimal | None) -> CapReached | None:
        """Hold the most that a job can cost, under every cap that bears on it, or say which cap
        has too little left."""
        counters = self.of(charge)
        capped = [each for each in counters if each.cap]
        if capped and max_cost_usd is None:
            return CapReached(
                "The most that this request can cost is not known, and "
                f"a cap bears on it ({capped[0].cap}). Choose another model, size or quality."
            )
        most = trillionths(max_cost_usd)
        short = [each for each in capped if each.left < most]
        if short:
            counter = min(short, key=lambda each: each.left)
            reason = f"This request could cost {shown(dollars(most))}, which is more than a cap has"
            reason += f" left. {counter.cap}: {counter.standing()}"
            return CapReached(reason, counter.alerts(is_refusing=True))
        for counter in counters:
            counter.add(0, most)
        return None

    def release(self, charge: Charge, max_cost_usd: Decimal | None) -> None:
        """Undo a hold: its job was not opened after all."""
        for counter in self.of(charge):
            counter.add(0, -trillionths(max_cost_usd))

    def change(self, charge: Charge, before: Standing, after: Standing) -> list[str]:
        """Count what a job has come to instead of what it was; return the alerts due."""
        alerts = []
        for counter in self.of(charge):
            counter.add(after.spent - before.spent, after.held - before.held)
            alerts += counter.alerts()
        return alerts

    def left_usd(self, charge: Charge) -> Decimal | None:
        """Return the least that any cap has left for such a job; None where none bears on it."""
        left = [counter.left for counter in self.of(charge) if counter.cap]
        return dollars(max(0, min(left))) if left else None
