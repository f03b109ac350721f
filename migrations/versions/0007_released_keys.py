"""A job that failed unbilled has released its idempotency key: one job holds each, and no rule says
which.

A worker of the release before this one releases no key: what failed unbilled there after this is
answered again as it failed, and not run again. Writes to gen_jobs wait while the indexes are made.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

UNBILLED = "status = 'failed' AND estimated_cost = 0"
CLAIMED = sa.text(
    "idempotency_key IS NOT NULL"
    " AND (status <> 'failed' OR estimated_cost IS NULL OR estimated_cost <> 0)"
)
HAS_KEY = sa.text("idempotency_key IS NOT NULL")
IS_RELEASED = sa.text("released_key IS NOT NULL")


def upgrade() -> None:
    op.add_column("gen_jobs", sa.Column("released_key", sa.String(255)))
    op.execute(
        "UPDATE gen_jobs SET released_key = idempotency_key, idempotency_key = NULL"
        f" WHERE {HAS_KEY} AND {UNBILLED}"
    )
    op.drop_index("ix_gen_jobs_claimed", "gen_jobs")
    op.drop_index("ix_gen_jobs_idempotency_key", "gen_jobs")
    op.create_index("ix_gen_jobs_idempotency_key", "gen_jobs", ["idempotency_key"], unique=True)
    op.create_index(
        "ix_gen_jobs_released_key",
        "gen_jobs",
        ["released_key"],
        postgresql_where=IS_RELEASED,
        sqlite_where=IS_RELEASED,
    )


def downgrade() -> None:
    op.drop_index("ix_gen_jobs_released_key", "gen_jobs")
    op.drop_index("ix_gen_jobs_idempotency_key", "gen_jobs")
    op.execute(
        f"UPDATE gen_jobs SET idempotency_key = released_key WHERE {IS_RELEASED} AND {UNBILLED}"
    )
    op.create_index(
        "ix_gen_jobs_claimed",
        "gen_jobs",
        ["idempotency_key"],
        unique=True,
        postgresql_where=CLAIMED,
        sqlite_where=CLAIMED,
    )
    op.create_index(
        "ix_gen_jobs_idempotency_key",
        "gen_jobs",
        ["idempotency_key"],
        postgresql_where=HAS_KEY,
        sqlite_where=HAS_KEY,
    )
    op.drop_column("gen_jobs", "released_key")
