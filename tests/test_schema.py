"""The schema: what the migrations leave is what the models declare."""

import re

import pytest
from sqlalchemy import Engine, text

import database
import models
from tests.conftest import NewDatabase, database_engine
from tests.test_database import alembic_command, make_old_tables

CATALOGUE = text("""
SELECT 'table ' || attrelid::regclass AS owner,
       concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull,
                 pg_get_expr(adbin, adrelid), attidentity, attgenerated, attcollation) AS definition
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE CAST(CAST(attrelid AS regclass) AS text) = ANY (:tables) AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'index ' || indrelid::regclass, pg_get_indexdef(indexrelid)
FROM pg_index WHERE CAST(CAST(indrelid AS regclass) AS text) = ANY (:tables)
UNION ALL
SELECT 'constraint ' || conrelid::regclass, conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE CAST(CAST(conrelid AS regclass) AS text) = ANY (:tables)
""")
SQLITE_MASTER = text("SELECT type || ' ' || tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL")
OLD_JOB = text(
    "INSERT INTO gen_jobs (job_type, model, prompt, idempotency_key, status, estimated_cost)"
    " VALUES ('text', 'gpt-4', '아침', :key, :status, :cost)"
)
KEYS = text("SELECT idempotency_key, released_key FROM gen_jobs ORDER BY id")
OLD_KEYS = text("SELECT idempotency_key FROM gen_jobs ORDER BY id")
TABLES = sorted(models.Base.metadata.tables)


def ddl(engine: Engine) -> set[tuple[str, str]]:
    """What the database says of each column, index and constraint of the service's tables."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            found = connection.execute(CATALOGUE, {"tables": TABLES}).all()
            return {(owner, definition) for owner, definition in found}
        found = connection.execute(SQLITE_MASTER).all()
    statements = [(owner, sql) for owner, sql in found if owner.split()[1] in TABLES]
    return {(owner, part) for owner, sql in statements for part in parts(owner, sql)}


def parts(owner: str, sql: str) -> list[str]:
    """The columns and constraints of a CREATE TABLE, each by itself; any other statement whole."""
    spaced = " ".join(sql.split()).replace("<>", "!=")
    if not owner.startswith("table "):
        return [spaced]
    body = spaced.partition("(")[2].rpartition(")")[0]
    return [part.strip() for part in re.split(r",(?![^(]*\))", body)]


def indexes(found: set[tuple[str, str]]) -> set[str]:
    return {definition for owner, definition in found if owner.startswith("index ")}


@pytest.fixture
def declared(new_database: NewDatabase) -> set[tuple[str, str]]:
    """The DDL of a database that the models alone made."""
    engine = database_engine(new_database())
    models.Base.metadata.create_all(engine)
    return ddl(engine)


def test_the_migrations_leave_what_the_models_declare(
    new_database: NewDatabase, declared: set[tuple[str, str]]
) -> None:
    engine = database_engine(new_database())
    database.bring_up(engine)
    assert ddl(engine) == declared


def test_going_back_and_up_again_leaves_what_the_models_declare(
    new_database: NewDatabase, declared: set[tuple[str, str]]
) -> None:
    engine = database_engine(url := new_database())
    database.bring_up(engine)
    back = alembic_command(url, "downgrade", "0001")
    assert back.returncode == 0, back.stderr
    assert ddl(engine) != declared
    database.bring_up(engine)
    assert ddl(engine) == declared


def test_adopted_tables_get_the_indexes_that_the_models_declare(
    new_database: NewDatabase, declared: set[tuple[str, str]]
) -> None:
    """Their columns, and what these default to, stay as another program made them."""
    engine = database_engine(new_database())
    make_old_tables(engine)
    database.bring_up(engine)
    assert indexes(ddl(engine)) == indexes(declared)


def test_alembic_finds_nothing_to_do(new_database: NewDatabase) -> None:
    database.bring_up(database_engine(url := new_database()))
    check = alembic_command(url, "check")
    assert check.returncode == 0, check.stdout + check.stderr
    assert "No new upgrade operations detected" in check.stdout + check.stderr


def test_the_keys_of_jobs_that_failed_unbilled_are_released(new_database: NewDatabase) -> None:
    """Of a release before, several jobs may have one key; after it, one job at most holds it."""
    url = new_database()
    engine = database_engine(url)
    assert alembic_command(url, "upgrade", "0006").returncode == 0
    ends = [("failed", 0), ("failed", 0), ("completed", 0.01), ("failed", 0.01), ("failed", None)]
    keys = ["a", "a", "a", "b", "c"]
    with engine.begin() as connection:
        for key, (status, cost) in zip(keys, ends, strict=True):
            row = {"key": key, "status": status, "cost": cost}
            connection.execute(OLD_JOB, row)
    database.bring_up(engine)
    with engine.connect() as connection:
        held = connection.execute(KEYS).all()
    assert [tuple(each) for each in held] == [
        (None, "a"),
        (None, "a"),
        ("a", None),
        ("b", None),
        ("c", None),
    ]
    assert alembic_command(url, "downgrade", "0006").returncode == 0
    with engine.connect() as connection:
        assert connection.execute(OLD_KEYS).scalars().all() == keys
