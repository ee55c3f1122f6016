"""The tables of the store, and how they come to be in a database, whoever comes first."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    inspect,
    select,
    update,
)

from guardproxy.errors import ConfigError

# What leads from one version to the next: statements that both databases know, for each step.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "ALTER TABLE guardproxy_input_items ADD COLUMN own BOOLEAN NOT NULL DEFAULT FALSE",
        "ALTER TABLE guardproxy_responses DROP COLUMN upstream",
    ),
)
LOCK = 7_106_031_001  # the advisory lock of PostgreSQL that is held meanwhile; any number that is ours alone

_metadata = MetaData()
_number = BigInteger().with_variant(Integer, "sqlite")  # there an INTEGER alone counts up by itself

version = Table("guardproxy_schema", _metadata, Column("version", Integer, nullable=False))
responses = Table(
    "guardproxy_responses",
    _metadata,
    Column("number", _number, Identity(), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("created", Double, nullable=False, index=True),
    Column("policy", JSON(none_as_null=True)),
    Column("body", Text, nullable=False),
    UniqueConstraint("tenant", "id"),
)
input_items = Table(
    "guardproxy_input_items",
    _metadata,
    Column("response", ForeignKey(responses.c.number, ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("own", Boolean, nullable=False),
    Column("body", Text, nullable=False),
)
turns = Table(
    "guardproxy_turns",
    _metadata,
    Column("number", _number, Identity(), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("conversation", Text, nullable=False),
    Column("created", Double, nullable=False, index=True),
)
Index("ix_guardproxy_turns_conversation", turns.c.tenant, turns.c.conversation, turns.c.number)
turn_items = Table(
    "guardproxy_turn_items",
    _metadata,
    Column("turn", ForeignKey(turns.c.number, ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("body", Text, nullable=False),
)


def prepare(connection: Connection) -> None:
    """Create the tables, or bring them to this version. Processes that come at once wait for each other.

    The transaction must be one that writes from its beginning (SQLite's BEGIN IMMEDIATE).

    Raises:
        ConfigError: the tables are of a later version.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
    latest = 1 + len(MIGRATIONS)
    if not inspect(connection).has_table(version.name):
        _metadata.create_all(connection)
        connection.execute(insert(version).values(version=latest))
        return
    found = connection.execute(select(version.c.version)).scalar_one()
    if found > latest:
        raise ConfigError(
            f"[store] url: the store has the schema {found}, of a later guardproxy; this one knows {latest}. "
            "Run the later guardproxy, or give this one a store of its own."
        )
    for statements in MIGRATIONS[found - 1 :]:
        for statement in statements:
            connection.exec_driver_sql(statement)
    if found < latest:
        connection.execute(update(version).values(version=latest))
