"""The gateway's tables: exchanges, usage, feedback, keys."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _exchanges()
    _usage()
    op.create_table(
        "feedback",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("exchange", sa.String(32), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("correction", sa.Text),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_index("feedback_by_exchange", "feedback", ["exchange", "id"])
    op.create_table(
        "keys",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
    )


def _exchanges() -> None:
    op.create_table(
        "exchanges",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("endpoint", sa.String(32), nullable=False),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("answered_by", sa.String(512), nullable=False),
        sa.Column("key", sa.String(32)),
        sa.Column("session", sa.String(256)),
        sa.Column("subject", sa.String(256)),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("finished", sa.Boolean, nullable=False),
        sa.Column("request", sa.Text),
        sa.Column("answer", sa.Text),
        sa.Column("redactions", sa.Integer, nullable=False),
        sa.Column("latency_ms", sa.Float, nullable=False),
        sa.Column("first_byte_ms", sa.Float),
        sa.Column("shadow_of", sa.String(32)),
    )
    op.create_index("exchanges_by_model", "exchanges", ["model", "at"])
    op.create_index("exchanges_by_time", "exchanges", ["at"])


def _usage() -> None:
    op.create_table(
        "usage",
        sa.Column("exchange", sa.String(32), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("key", sa.String(32)),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("target", sa.String(512), nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("input_tokens", sa.Integer, nullable=False),
        sa.Column("cached_tokens", sa.Integer, nullable=False),
        sa.Column("output_tokens", sa.Integer, nullable=False),
        sa.Column("reasoning_tokens", sa.Integer, nullable=False),
        sa.Column("cost", sa.BigInteger),
        sa.Column("currency", sa.String(3)),
        sa.Column("estimated", sa.Boolean, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
    )
    op.create_index("usage_by_time", "usage", ["at"])
    op.create_index("usage_by_key", "usage", ["key", "at"])
