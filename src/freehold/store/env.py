"""Alembic's entry: it runs the migrations on the connection that `migrations.upgrade` holds."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
