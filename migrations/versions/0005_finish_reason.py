"""A text knows how it ended, so that one that was cut off is not taken for whole."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("generated_content", sa.Column("finish_reason", sa.String(50)))


def downgrade() -> None:
    op.drop_column("generated_content", "finish_reason")
