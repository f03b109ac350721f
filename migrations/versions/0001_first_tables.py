"""The four tables of 2.0.0; where they stand already, made without Alembic, they are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    # The server of a database may live in another zone than UTC: now() alone would be local time.
    postgresql = op.get_bind().dialect.name == "postgresql"
    now = sa.text("timezone('utc', now())" if postgresql else "CURRENT_TIMESTAMP")
    # Without AUTOINCREMENT, SQLite gives a deleted row's id to the next one; PostgreSQL never does.
    op.create_table(
        "segments",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("criteria", sa.Text),
        sa.Column("created_at", sa.DateTime, server_default=now),
        sa.Column("updated_at", sa.DateTime, server_default=now),
        if_not_exists=True,
        sqlite_autoincrement=True,
    )
    op.create_table(
        "generated_content",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("content_type", sa.String(50), nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("model", sa.String(100)),
        sa.Column("created_at", sa.DateTime, server_default=now),
        if_not_exists=True,
        sqlite_autoincrement=True,
    )
    op.create_table(
        "gen_jobs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer),
        sa.Column("job_type", sa.String(50), nullable=False),
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("completion_tokens", sa.Integer),
        sa.Column("total_tokens", sa.Integer),
        sa.Column("estimated_cost", sa.Float, server_default="0.0"),
        sa.Column("status", sa.String(50), server_default="completed"),
        sa.Column("error_message", sa.Text),
        sa.Column("created_at", sa.DateTime, server_default=now),
        sa.Column("completed_at", sa.DateTime),
        if_not_exists=True,
        sqlite_autoincrement=True,
    )
    op.create_table(
        "metrics",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("project_id", sa.Integer),
        sa.Column("metric_name", sa.String(255), nullable=False),
        sa.Column("metric_value", sa.Float, nullable=False),
        sa.Column("timestamp", sa.DateTime, server_default=now),
        if_not_exists=True,
        sqlite_autoincrement=True,
    )
    # Undated rows, which older tables may have, come last: SQLite's DESC means that already.
    newest = [sa.text("created_at DESC NULLS LAST" if postgresql else "created_at DESC")]
    newest += [sa.text("id DESC")]
    for table in ("generated_content", "gen_jobs"):
        op.create_index(f"ix_{table}_newest", table, newest, if_not_exists=True)
    op.create_index("ix_metrics_project_id", "metrics", ["project_id"], if_not_exists=True)


def downgrade() -> None:
    for table in ("metrics", "gen_jobs", "generated_content", "segments"):
        op.drop_table(table)
