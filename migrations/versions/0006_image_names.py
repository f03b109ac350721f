"""The result of a stored image is its name: the address it was made under may be anyone's."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute("UPDATE generated_content SET result = image_name WHERE image_name IS NOT NULL")


def downgrade() -> None:
    """Keep the names: the releases before this one make the address from them too."""
