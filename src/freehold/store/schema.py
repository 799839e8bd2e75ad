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
    Column("stage", String(128), primary_key=True),
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
    Column("name", String(256), nullable=False),
    Column("config", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("deployments_by_name", "name", "id"),
)

# What the gateway passed on or answered: one row a request, redacted before it is written.
exchanges = Table(
    "exchanges",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("endpoint", String(32), nullable=False),
    Column("model", String(256), nullable=False),
    Column("answered_by", String(512), nullable=False),
    Column("key", String(32)),
    Column("session", String(256)),
    Column("subject", String(256)),
    Column("tags", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("status", Integer, nullable=False),
    Column("finished", Boolean, nullable=False),
    Column("request", Text),
    Column("answer", Text),
    Column("redactions", Integer, nullable=False),
    Column("latency_ms", Float, nullable=False),
    Column("first_byte_ms", Float),
    Column("shadow_of", String(32)),
    Index("exchanges_by_model", "model", "at"),
    Index("exchanges_by_time", "at"),
)

# One append-only row an attempt at an upstream or an owned model: a retry is billed twice, so it is two rows.
usage = Table(
    "usage",
    metadata,
    Column("exchange", String(32), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("key", String(32)),
    Column("model", String(256), nullable=False),
    Column("target", String(512), nullable=False),
    Column("tags", Text, nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("reasoning_tokens", Integer, nullable=False),
    Column("cost", BigInteger),
    Column("currency", String(3)),
    Column("estimated", Boolean, nullable=False),
    Column("seconds", Float, nullable=False),
    Index("usage_by_time", "at"),
    Index("usage_by_key", "key", "at"),
)

# What people said of an answer: accepted, rejected, or corrected with a better one.
feedback = Table(
    "feedback",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("exchange", String(32), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("correction", Text),
    Column("at", BigInteger, nullable=False),
    Index("feedback_by_exchange", "exchange", "id"),
)

# Freehold's own keys, by the SHA-256 of the secret; `config` holds what a key may do.
keys = Table(
    "keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("config", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

# Blind comparisons: what was shown, and what a person chose. No text: answers lie with the report's rows.
bouts = Table(
    "bouts",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("task", String(64), nullable=False),
    Column("example", String(64), nullable=False),
    Column("left_model", String(256), nullable=False),
    Column("right_model", String(256), nullable=False),
    Column("dealt_at", BigInteger, nullable=False),
    Column("winner", String(8)),
    Column("voter", String(64)),
    Column("cast_at", BigInteger),
    Index("bouts_by_task", "task", "cast_at"),
)
