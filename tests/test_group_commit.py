"""The group commit, on rows of segments."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError

import database
import models
from generation.group_commit import GroupCommit
from tests.conftest import NewDatabase, database_engine

INSERT = insert(models.Segment).returning(models.Segment.id, sort_by_parameter_order=True)


def add(connection: Connection, names: Sequence[str | None]) -> list[int]:
    return list(connection.execute(INSERT, [{"name": name} for name in names]).scalars())


def write(url: str, *names: str | None) -> list[Any]:
    """What each name comes to when all are written at once."""

    async def all_at_once() -> list[Any]:
        engine = create_engine(database.parse_url(url))
        group = GroupCommit[str | None](engine, add)
        try:
            written = (group.write(name) for name in names)
            return await asyncio.gather(*written, return_exceptions=True)
        finally:
            group.close()
            engine.dispose()

    return asyncio.run(all_at_once())


def stored(url: str) -> dict[int, str]:
    with database_engine(url).connect() as connection:
        rows = connection.execute(select(models.Segment.id, models.Segment.name))
        return {row.id: row.name for row in rows}


@pytest.fixture
def url(new_database: NewDatabase) -> str:
    url = new_database()
    database.bring_up(database_engine(url))
    return url


def test_each_gets_the_result_of_its_own_entry(url: str) -> None:
    names = [f"세그먼트 {number}" for number in range(1200)]
    ids = write(url, *names)
    there = stored(url)
    assert [there[number] for number in ids] == names


def test_one_bad_entry_does_not_fail_its_neighbours(url: str) -> None:
    names = ["first", None, "second", "a\udc00b", "third"]
    outcomes = write(url, *names)
    assert isinstance(outcomes[1], IntegrityError)
    assert isinstance(outcomes[3], Exception)
    there = stored(url)
    assert len(there) == 3
    assert [there[outcomes[place]] for place in (0, 2, 4)] == ["first", "second", "third"]


def test_a_database_out_of_reach_is_told_to_everyone() -> None:
    outcomes = write("postgresql://a@127.0.0.1:1/b", "first", "second")
    assert [type(each) for each in outcomes] == [OperationalError] * 2
