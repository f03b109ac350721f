"""Images are stored under a name of their own; a job knows what it requested of an image model."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

STORED = {"generated_content": "image_name", "gen_jobs": "image_key"}


def upgrade() -> None:
    op.add_column("generated_content", sa.Column("image_name", sa.String(64)))
    op.add_column("generated_content", sa.Column("image_expires_at", sa.DateTime))
    op.add_column("gen_jobs", sa.Column("cache_write_tokens", sa.Integer))
    op.add_column("gen_jobs", sa.Column("size", sa.String(20)))
    op.add_column("gen_jobs", sa.Column("quality", sa.String(20)))
    op.add_column("gen_jobs", sa.Column("image_key", sa.String(32)))
    for table, column in STORED.items():
        there = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_{table}_{column}", table, [column], postgresql_where=there, sqlite_where=there
        )


def downgrade() -> None:
    for table, column in STORED.items():
        op.drop_index(f"ix_{table}_{column}", table)
    for column in ("image_key", "quality", "size", "cache_write_tokens"):
        op.drop_column("gen_jobs", column)
    op.drop_column("generated_content", "image_expires_at")
    op.drop_column("generated_content", "image_name")
