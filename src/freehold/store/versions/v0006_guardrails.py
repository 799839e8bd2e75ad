"""What each guardrail found stands with the exchange."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("exchanges", sa.Column("guardrails", sa.Text))
