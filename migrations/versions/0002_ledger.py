"""The ledger: content knows its job; a job, its attempts, its key and when it must have ended."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# A job that failed unbilled frees its key for another try.
CLAIMED = sa.text(
    "idempotency_key IS NOT NULL"
    " AND (status <> 'failed' OR estimated_cost IS NULL OR estimated_cost <> 0)"
)
PENDING = sa.text("status = 'pending'")


def upgrade() -> None:
    op.add_column("generated_content", sa.Column("job_id", sa.Integer))
    op.add_column("generated_content", sa.Column("revised_prompt", sa.Text))
    op.add_column("gen_jobs", sa.Column("expires_at", sa.DateTime))
    op.add_column("gen_jobs", sa.Column("attempts", sa.Integer))
    op.add_column("gen_jobs", sa.Column("cached_tokens", sa.Integer))
    op.add_column("gen_jobs", sa.Column("openai_request_id", sa.String(255)))
    op.add_column("gen_jobs", sa.Column("idempotency_key", sa.String(255)))
    op.add_column("gen_jobs", sa.Column("request_hash", sa.String(64)))
    op.create_index("ix_generated_content_job_id", "generated_content", ["job_id"])
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
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "ix_gen_jobs_pending",
        "gen_jobs",
        ["expires_at"],
        postgresql_where=PENDING,
        sqlite_where=PENDING,
    )


def downgrade() -> None:
    for index in ("pending", "idempotency_key", "claimed"):
        op.drop_index(f"ix_gen_jobs_{index}", "gen_jobs")
    op.drop_index("ix_generated_content_job_id", "generated_content")
    for column in (
        *("request_hash", "idempotency_key", "openai_request_id"),
        *("cached_tokens", "attempts", "expires_at"),
    ):
        op.drop_column("gen_jobs", column)
    op.drop_column("generated_content", "revised_prompt")
    op.drop_column("generated_content", "job_id")
