"""Which adapter file an engine used stands with the attempt, by its SHA-256."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("usage", sa.Column("adapter", sa.String(64)))
