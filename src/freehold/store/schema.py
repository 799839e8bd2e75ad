"""Every table of the store. A change here comes with a migration in `store/versions/`; a test holds them equal.

Times are UTC as integer microseconds since 1970; money is integer pico-units (10⁻¹²) of a currency; digests are hex.
"""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text, text

metadata = MetaData()

KEYED = "key IS NOT NULL"
FAILED = "status >= 400 OR NOT finished"  # the few that a person looks for among the many

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
    Column("guardrails", Text),
    Index("exchanges_by_model", "model", "at"),
    Index("exchanges_by_time", "at"),
    Index("exchanges_failed", "at", sqlite_where=text(FAILED), postgresql_where=text(FAILED)),
    Index("exchanges_by_key", "key", "at", sqlite_where=text(KEYED), postgresql_where=text(KEYED)),
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
    Column("adapter", String(64)),
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
    Index("feedback_by_verdict", "verdict", "at"),
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

# Who may use the console. `password` is an argon2 hash; a removed user's row stays, for the audit log's names.
users = Table(
    "users",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("removed_at", BigInteger),
)

# Tokens that let somebody choose a name and a password once, by the SHA-256 of the token.
invitations = Table(
    "invitations",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("made_by", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
)

# Who is signed in, by the SHA-256 of the cookie; `notice` is what the next page says once.
sessions = Table(
    "sessions",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("user", String(64), nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("notice", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Index("sessions_by_user", "user"),
)

# What people changed, append-only.
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("user", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(256), nullable=False),
    Column("detail", Text, nullable=False),
)

# Work that a page started as a child process; `pid_started` tells it from a later process of that number.
jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("task", String(64), nullable=False),
    Column("path", Text, nullable=False),
    Column("by", String(64), nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("pid", Integer),
    Column("pid_started", Float),
    Column("ended_at", BigInteger),
    Column("outcome", String(16)),
    Column("message", Text, nullable=False),
    Index("jobs_by_task", "task", "started_at"),
)

# Files of the gateway's batch API. The content lies sealed on disk; `details` is sealed too. `owner` is a key's id, or
# the pseudonym of a key of another house.
files = Table(
    "files",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(80), nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("details", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("files_by_owner", "owner", "created_at"),
)

# Batches, and how far each has come; `times` is JSON: when each status was reached.
batches = Table(
    "batches",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(80), nullable=False),
    Column("endpoint", String(64), nullable=False),
    Column("input_file", String(64), nullable=False),
    Column("details", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("output_file", String(64)),
    Column("error_file", String(64)),
    Column("times", Text, nullable=False),
    Column("total", Integer, nullable=False),
    Column("completed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Index("batches_by_owner", "owner", "created_at"),
    Index("batches_by_status", "status"),
)

# How far what is derived has read the rows it is made of: the last one's position, and its id as a check.
cursors = Table(
    "cursors",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("id", String(64), nullable=False),
)

# The numbers under which exchanges stand in the search index (`search.py`).
searchable = Table(
    "searchable",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("exchange", String(32), nullable=False, unique=True),
)

# Usage added up by UTC day, as far as the cursor `usage` has come (`totals.py`); no key and no currency are "".
usage_days = Table(
    "usage_days",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("key", String(32), primary_key=True),
    Column("model", String(256), primary_key=True),
    Column("currency", String(3), primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("unpriced", BigInteger, nullable=False),
    Column("estimated", BigInteger, nullable=False),
)
