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
WHERE attrelid = ANY (CAST(:tables AS regclass[])) AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'index ' || indrelid::regclass, pg_get_indexdef(indexrelid)
FROM pg_index WHERE indrelid = ANY (CAST(:tables AS regclass[]))
UNION ALL
SELECT 'constraint ' || conrelid::regclass, conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE conrelid = ANY (CAST(:tables AS regclass[]))
""")
SQLITE_MASTER = text("SELECT type || ' ' || tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL")
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
