"""Every table of the store. A change here comes with a migration in `store/versions/`; a test holds them equal.

Times are UTC as integer microseconds since 1970; money is integer pico-units (10⁻¹²) of a currency; digests are hex.
"""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

# What the pipeline has finished: one row a stage and the digest of what went in.
stages = Table(
    "stages",
    metadata,
    Column("task", String(64), primary_key=True),
    Column("stage", String(64), primary_key=True),
    Column("inputs", String(64), nullable=False),
    Column("output", Text, nullable=False),
    Column("finished_at", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
)

# One candidate's answer to one example: never asked twice, comparable for ever.
answers = Table(
    "answers",
    metadata,
    Column("candidate", String(64), primary_key=True),
    Column("prompt", String(64), primary_key=True),
    Column("constrained", Boolean, primary_key=True),
    Column("text", Text, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("latency_ms", Float, nullable=False),
    Column("error", Text),
    Column("answered_at", BigInteger, nullable=False),
)

# Reports and decisions by digest, newest last; the documents lie on disk.
documents = Table(
    "documents",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("task", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("documents_by_task", "kind", "task", "created_at"),
)

# What stands behind a public model name; append-only, the newest row of a name holds.
deployments = Table(
    "deployments",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String(64), nullable=False),
    Column("config", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("deployments_by_name", "name", "id"),
)
