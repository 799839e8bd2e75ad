"""The console's tables: people, sessions, jobs, the audit log; what search and statements are derived into; indexes."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_FAILED = sa.text("status >= 400 OR NOT finished")
_KEYED = sa.text("key IS NOT NULL")
_COUNTS = (
    "requests", "attempts", "failed", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "cost",
    "unpriced", "estimated",
)  # fmt: skip


def upgrade() -> None:
    op.create_index("exchanges_failed", "exchanges", ["at"], sqlite_where=_FAILED, postgresql_where=_FAILED)
    op.create_index("exchanges_by_key", "exchanges", ["key", "at"], sqlite_where=_KEYED, postgresql_where=_KEYED)
    op.create_index("feedback_by_verdict", "feedback", ["verdict", "at"])
    _people()
    _jobs()
    _derived()


def _people() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("removed_at", sa.BigInteger),
    )
    op.create_table(
        "invitations",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("made_by", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
    )
    op.create_table(
        "sessions",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("csrf", sa.String(64), nullable=False),
        sa.Column("notice", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
    )
    op.create_index("sessions_by_user", "sessions", ["user"])
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(256), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("by", sa.String(64), nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("pid", sa.Integer),
        sa.Column("pid_started", sa.Float),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("outcome", sa.String(16)),
        sa.Column("message", sa.Text, nullable=False),
    )
    op.create_index("jobs_by_task", "jobs", ["task", "started_at"])


def _derived() -> None:
    op.create_table(
        "cursors",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
    )
    op.create_table(
        "searchable",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("exchange", sa.String(32), nullable=False, unique=True),
    )
    op.create_table(
        "usage_days",
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key", sa.String(32), primary_key=True),
        sa.Column("model", sa.String(256), primary_key=True),
        sa.Column("currency", sa.String(3), primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _COUNTS),
    )
