"""From copy to outcome: metrics know their campaign, content and event; content, what was asked and
its share of the cost."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

EVENT = sa.text("event_id IS NOT NULL")
EVENT_WITHOUT_PROJECT = sa.text("event_id IS NOT NULL AND project_id IS NULL")


def upgrade() -> None:
    op.add_column("generated_content", sa.Column("segment_id", sa.Integer))
    op.add_column("generated_content", sa.Column("tone", sa.String(100)))
    op.add_column("generated_content", sa.Column("keywords", sa.Text))
    op.add_column("generated_content", sa.Column("cost", sa.Float))
    op.add_column("gen_jobs", sa.Column("max_tokens", sa.Integer))
    op.add_column("gen_jobs", sa.Column("n", sa.Integer))
    op.add_column("metrics", sa.Column("campaign_id", sa.BigInteger))
    op.add_column("metrics", sa.Column("content_id", sa.Integer))
    op.add_column("metrics", sa.Column("event_id", sa.String(255)))
    # Until now, one job made one content.
    op.execute(
        "UPDATE generated_content SET cost ="
        " (SELECT estimated_cost FROM gen_jobs WHERE gen_jobs.id = generated_content.job_id)"
    )
    # Two, since a unique index takes two rows without a project for different ones.
    op.create_index(
        "ix_metrics_event",
        "metrics",
        ["project_id", "event_id"],
        unique=True,
        postgresql_where=EVENT,
        sqlite_where=EVENT,
    )
    op.create_index(
        "ix_metrics_event_without_project",
        "metrics",
        ["event_id"],
        unique=True,
        postgresql_where=EVENT_WITHOUT_PROJECT,
        sqlite_where=EVENT_WITHOUT_PROJECT,
    )
    # These hold all that a sum needs, so that the rows themselves are not read.
    op.drop_index("ix_metrics_project_id", "metrics")
    summed = ["metric_name", "timestamp", "metric_value"]
    op.create_index(
        "ix_metrics_campaign", "metrics", ["project_id", "campaign_id", "content_id", *summed]
    )
    op.create_index("ix_metrics_content", "metrics", ["content_id", *summed])


def downgrade() -> None:
    for index in ("content", "campaign", "event_without_project", "event"):
        op.drop_index(f"ix_metrics_{index}", "metrics")
    op.create_index("ix_metrics_project_id", "metrics", ["project_id"])
    for table, columns in {
        "metrics": ("event_id", "content_id", "campaign_id"),
        "gen_jobs": ("n", "max_tokens"),
        "generated_content": ("cost", "keywords", "tone", "segment_id"),
    }.items():
        for column in columns:
            op.drop_column(table, column)
