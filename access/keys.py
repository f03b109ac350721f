"""The keys that open the service: made, found, checked once more when a job opens."""

import contextlib
import hashlib
import hmac
import math
import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from sqlalchemy import BindParameter, Connection, Engine, Row, bindparam, exc, func, select, update

import models
from models import ApiKey, GenJob

Scope = Literal["generate", "metrics", "read"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

MARK = "artify_"
PREFIX_BYTES, SECRET_BYTES = 4, 32
# How exactly it is known when a key was last used: each use need not be written.
USED_WITHIN = timedelta(minutes=1)
A_MINUTE = timedelta(minutes=1)
JOBS, FIRST = func.count().label("jobs"), func.min(GenJob.created_at).label("first")

# Made once: making a statement takes as long as asking it.
PREFIXES: BindParameter[str] = bindparam("prefixes", expanding=True)
BY_PREFIX = select(ApiKey.__table__).where(ApiKey.prefix.in_(PREFIXES))
BY_ID = select(ApiKey.__table__).where(ApiKey.id.in_(bindparam("ids", expanding=True)))


class KeyMissing(Exception):
    """The route wants a key, and none was sent."""


class KeyInvalid(Exception):
    """There is no such key any more, or there never was."""


class KeyTooNarrow(Exception):
    """The key does not open this; `str()` says what it opens."""


class RateReached(Exception):
    """The key has asked for as many generations as it may in one minute."""

    def __init__(self, limit: int, retry_after_seconds: int) -> None:
        super().__init__(limit)
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True)
class Caller:
    """Who sent a request, and what it may do. One with a `user_id` sees that user's rows alone.
    `is_noted`: that its key was used just now."""

    key_id: int | None = None
    user_id: int | None = None
    scopes: Collection[str] = SCOPES
    is_admin: bool = False
    is_noted: bool = True

    def user(self, user_id: int | None) -> int | None:
        """Return the user that a request with this one is for. Raises KeyTooNarrow where it is
        somebody else's."""
        if self.user_id is None:
            return user_id
        if user_id not in (None, self.user_id):
            raise KeyTooNarrow(f"This key is for user {self.user_id} alone")
        return self.user_id


ANYONE, ADMIN = Caller(), Caller(is_admin=True)


def make() -> tuple[str, str, str]:
    """Return a new key, the prefix it is found by, and what is kept of it."""
    prefix = MARK + secrets.token_hex(PREFIX_BYTES)
    key = f"{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return key, prefix, digest(key)


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class Door:
    """Lets requests in: by ADMIN_KEY, by a key of the database, or, without an ADMIN_KEY, all."""

    def __init__(self, engine: Engine, admin_key: str | None) -> None:
        self._engine = engine
        self._admin_hash = digest(admin_key) if admin_key else None

    @property
    def is_open(self) -> bool:
        return self._admin_hash is None

    def is_admins(self, key: str) -> bool:
        # Of the hashes: their bytes tell nothing of where a guess is wrong.
        return hmac.compare_digest(digest(key), self._admin_hash or "")

    def find_all(
        self, connection: Connection, sent: Sequence[str]
    ) -> Sequence[Caller | KeyInvalid]:
        """Return whose each of these keys is, or that it is nobody's."""
        now = models.utc_now()
        prefixes = {_prefix(key) for key in sent}
        found = connection.execute(BY_PREFIX, {"prefixes": list(prefixes)})
        rows = {row.prefix: row for row in found}
        return [_caller(key, rows.get(_prefix(key)), now) for key in sent]

    def note_use(self, key_id: int) -> None:
        """Write down that the key was used now."""
        # A database that takes nothing may still be read.
        with contextlib.suppress(exc.SQLAlchemyError), self._engine.begin() as connection:
            used = update(ApiKey).where(ApiKey.id == key_id)
            connection.execute(used.values(last_used_at=models.utc_now()))


def _prefix(key: str) -> str:
    return key[: len(MARK) + 2 * PREFIX_BYTES]


def _caller(key: str, row: Row[Any] | None, now: datetime) -> Caller | KeyInvalid:
    is_right = hmac.compare_digest(digest(key), row.key_hash if row else digest(""))
    if row is None or not is_right or not is_valid(row, now):
        return KeyInvalid()
    is_noted = row.last_used_at is not None and row.last_used_at >= now - USED_WITHIN
    return Caller(row.id, row.user_id, row.scopes.split(), is_noted=is_noted)


def is_valid(row: Row[Any], now: datetime) -> bool:
    """Tell whether the key still opens anything."""
    return row.revoked_at is None and (row.expires_at is None or now < row.expires_at)


class Gate:
    """The keys of a group of jobs, looked at once more in the transaction that opens them: none is
    revoked meanwhile, and each keeps its rate, however many workers ask."""

    def __init__(
        self, connection: Connection, key_ids: Iterable[int | None], now: datetime
    ) -> None:
        self._now = now
        self._keys: dict[int, Row[Any]] = {}
        self._opened: Counter[int] = Counter()
        self._first: dict[int, datetime] = {}
        named = set(key_ids) - {None}
        if not named:
            return
        rows = connection.execute(BY_ID, {"ids": list(named)})
        self._keys = {row.id: row for row in rows}
        limited = [row.id for row in self._keys.values() if row.rate_per_minute]
        if limited:
            lock = select(ApiKey.id).where(ApiKey.id.in_(limited)).order_by(ApiKey.id)
            connection.execute(lock.with_for_update())
            of_the_last_minute = (
                select(GenJob.key_id, JOBS, FIRST)
                .where(GenJob.key_id.in_(limited), GenJob.created_at > now - A_MINUTE)
                .group_by(GenJob.key_id)
            )
            row: Any
            for row in connection.execute(of_the_last_minute):
                self._opened[row.key_id], self._first[row.key_id] = row.jobs, row.first

    def refusal(self, key_id: int | None) -> KeyInvalid | RateReached | None:
        """Say why this key opens no job now."""
        if key_id is None:
            return None
        key = self._keys.get(key_id)
        if key is None or not is_valid(key, self._now):
            return KeyInvalid()
        if key.rate_per_minute and self._opened[key_id] >= key.rate_per_minute:
            waiting = self._first.get(key_id, self._now) + A_MINUTE - self._now
            return RateReached(key.rate_per_minute, math.ceil(waiting.total_seconds()))
        return None

    def count(self, key_id: int | None, jobs: int = 1) -> None:
        """Count a job that this key has opened, or by -1 one that it has not after all."""
        if key_id is not None:
            self._opened[key_id] += jobs
