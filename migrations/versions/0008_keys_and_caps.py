"""Keys that open the service, and caps of what they, users and all together may spend.

An idempotency key is the API key's own from now on. Writes to gen_jobs wait while its indexes are
made.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

NOW = {"postgresql": "timezone('utc', now())", "sqlite": "CURRENT_TIMESTAMP"}
WHOSE = sa.text("coalesce(key_id, 0)")
HAS_KEY = sa.text("key_id IS NOT NULL")
IS_RELEASED = sa.text("released_key IS NOT NULL")
ADDED = ("key_id", "max_cost", "settled_by", "settled_at")


def upgrade() -> None:
    op.add_column("gen_jobs", sa.Column("key_id", sa.Integer))
    op.add_column("gen_jobs", sa.Column("max_cost", sa.Float))
    op.add_column("gen_jobs", sa.Column("settled_by", sa.String(255)))
    op.add_column("gen_jobs", sa.Column("settled_at", sa.DateTime))
    op.drop_index("ix_gen_jobs_idempotency_key", "gen_jobs")
    op.drop_index("ix_gen_jobs_released_key", "gen_jobs")
    op.create_index(
        "ix_gen_jobs_idempotency_key", "gen_jobs", [WHOSE, "idempotency_key"], unique=True
    )
    op.create_index(
        "ix_gen_jobs_released_key",
        "gen_jobs",
        [WHOSE, "released_key"],
        postgresql_where=IS_RELEASED,
        sqlite_where=IS_RELEASED,
    )
    op.create_index(
        "ix_gen_jobs_key",
        "gen_jobs",
        ["key_id", "created_at"],
        postgresql_where=HAS_KEY,
        sqlite_where=HAS_KEY,
    )
    now = sa.text(NOW[op.get_bind().dialect.name])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("prefix", sa.String(32), nullable=False, unique=True),
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.Column("user_id", sa.Integer),
        sa.Column("scopes", sa.String(255), nullable=False),
        sa.Column("expires_at", sa.DateTime),
        sa.Column("rate_per_minute", sa.Integer),
        sa.Column("cap_id", sa.Integer),
        sa.Column("created_at", sa.DateTime, server_default=now, nullable=False),
        sa.Column("last_used_at", sa.DateTime),
        sa.Column("revoked_at", sa.DateTime),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "budgets",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(255)),
        sa.Column("key_id", sa.Integer),
        sa.Column("user_id", sa.Integer),
        sa.Column("amount", sa.Float, nullable=False),
        sa.Column("period", sa.String(10), nullable=False),
        sa.Column("time_zone", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime, server_default=now, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "budget_periods",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("budget_id", sa.Integer, nullable=False),
        sa.Column("starts_at", sa.DateTime, nullable=False),
        sa.Column("ends_at", sa.DateTime, nullable=False),
        sa.Column("spent", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("alerted", sa.Integer, server_default="0", nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_budget_periods_period",
        "budget_periods",
        ["budget_id", "starts_at", "ends_at"],
        unique=True,
    )


def downgrade() -> None:
    for table in ("budget_periods", "budgets", "api_keys"):
        op.drop_table(table)
    for index in ("key", "released_key", "idempotency_key"):
        op.drop_index(f"ix_gen_jobs_{index}", "gen_jobs")
    # Two API keys may have sent the same one.
    op.execute("UPDATE gen_jobs SET idempotency_key = NULL WHERE key_id IS NOT NULL")
    op.create_index("ix_gen_jobs_idempotency_key", "gen_jobs", ["idempotency_key"], unique=True)
    op.create_index(
        "ix_gen_jobs_released_key",
        "gen_jobs",
        ["released_key"],
        postgresql_where=IS_RELEASED,
        sqlite_where=IS_RELEASED,
    )
    for column in ADDED:
        op.drop_column("gen_jobs", column)
