"""The arena's table: blind comparisons and what people chose."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "bouts",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("example", sa.String(64), nullable=False),
        sa.Column("left_model", sa.String(256), nullable=False),
        sa.Column("right_model", sa.String(256), nullable=False),
        sa.Column("dealt_at", sa.BigInteger, nullable=False),
        sa.Column("winner", sa.String(8)),
        sa.Column("voter", sa.String(64)),
        sa.Column("cast_at", sa.BigInteger),
    )
    op.create_index("bouts_by_task", "bouts", ["task", "cast_at"])
