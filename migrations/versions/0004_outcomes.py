"""From copy to outcome: metrics know their campaign, content and event; content, what was requested
and its share of the cost."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

EVENT = sa.text("event_id IS NOT NULL")


def upgrade() -> None:
    _give_no_segment_id_twice()
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
    # A unique index takes two NULLs for different.
    op.create_index(
        "ix_metrics_event",
        "metrics",
        [sa.text("coalesce(project_id, 0)"), "event_id"],
        unique=True,
        postgresql_where=EVENT,
        sqlite_where=EVENT,
    )
    # These hold all that a sum needs, so that the rows themselves are not read.
    op.drop_index("ix_metrics_project_id", "metrics")
    summed = ["metric_name", "timestamp", "metric_value"]
    op.create_index(
        "ix_metrics_campaign", "metrics", ["project_id", "campaign_id", "content_id", *summed]
    )
    op.create_index("ix_metrics_content", "metrics", ["content_id", *summed])


def _give_no_segment_id_twice() -> None:
    """Make SQLite keep a deleted segment's id from the next one: content names it for good now."""
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        return
    # A table that this service did not make may lack AUTOINCREMENT.
    made = sa.text("SELECT sql FROM sqlite_master WHERE name = 'segments'")
    if "AUTOINCREMENT" not in connection.execute(made).scalar_one().upper():
        options = {"sqlite_autoincrement": True}
        with op.batch_alter_table("segments", recreate="always", table_kwargs=options):
            pass


def downgrade() -> None:
    for index in ("content", "campaign", "event"):
        op.drop_index(f"ix_metrics_{index}", "metrics")
    op.create_index("ix_metrics_project_id", "metrics", ["project_id"])
    for table, columns in {
        "metrics": ("event_id", "content_id", "campaign_id"),
        "gen_jobs": ("n", "max_tokens"),
        "generated_content": ("cost", "keywords", "tone", "segment_id"),
    }.items():
        for column in columns:
            op.drop_column(table, column)
