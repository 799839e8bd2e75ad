"""The pipeline's tables: stages, answers, documents, deployments."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "stages",
        sa.Column("task", sa.String(64), primary_key=True),
        sa.Column("stage", sa.String(128), primary_key=True),
        sa.Column("inputs", sa.String(64), nullable=False),
        sa.Column("output", sa.Text, nullable=False),
        sa.Column("finished_at", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
    )
    op.create_table(
        "answers",
        sa.Column("candidate", sa.String(64), primary_key=True),
        sa.Column("prompt", sa.String(64), primary_key=True),
        sa.Column("constrained", sa.Boolean, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("input_tokens", sa.Integer, nullable=False),
        sa.Column("output_tokens", sa.Integer, nullable=False),
        sa.Column("latency_ms", sa.Float, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("answered_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "documents",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("documents_by_task", "documents", ["kind", "task", "created_at"])
    op.create_table(
        "deployments",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("deployments_by_name", "deployments", ["name", "id"])
