"""The tables of a PostgreSQL store, and who may do what with them.

A store lies in a schema of its own: `nexus_control`, or the one that the URL names with
`?options=-csearch_path=team1`. So one database holds as many stores as it has such schemas.

The tables have no CHECK: the server would parse its text for each statement, which is a tenth of the time of an append.
The trigger of `entries` checks instead.

All text is compared by code points (`COLLATE "C"`). Triggers refuse UPDATE, DELETE and TRUNCATE on `entries`, and an
INSERT that is not at the next position. They are ALWAYS triggers, which `session_replication_role` does not switch off.

`last_leaf` and `level` name a subtree as in `sqlite_schema`. `labels` repeats the labels of `projections`, one a row,
so that a page by label is found by an index. `ordinal` is the key of all rows that belong to a decision.

`store.id` tells this store from every other one; a copy of the database keeps it. `store.moved` is the mark of a store
that goes on at another place (`storage.moved`); only the owner of the tables sets it.

Who makes the tables owns them. An application needs less, and gets it by `grants`: it can add to `entries`, and change
nothing there, nor drop the triggers.
"""

import psycopg

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.storage.faults import damaged
from nexus_control.storage.postgres_function import FUNCTIONS, LOCK_CLASS
from nexus_control.storage.postgres_link import Address, Link

VERSION = 3
APPLICATION = "nexus-control"
_UPGRADE = "Upgrade nexus-control, then try again."
_EARLIER = "Read it with the nexus-control that wrote it."
_ADVICE_OF_LEADER = "Let the role that owns the tables open the store once, then try again."
_ADVICE_OF_OWNER = (
    "Let a role that may create a schema in this database open the store once, then grant this role use."
)

_TEXT = 'text COLLATE "C" NOT NULL'

TABLES = {
    "store": f"""
CREATE TABLE {{schema}}.store(
    single      boolean PRIMARY KEY DEFAULT true CHECK (single),
    application {_TEXT},
    version     integer NOT NULL,
    id          uuid NOT NULL DEFAULT gen_random_uuid(),
    moved       text COLLATE "C"
)""",
    "entries": f"""
CREATE TABLE {{schema}}.entries(
    position   bigint PRIMARY KEY,
    kind       {_TEXT},
    stream     {_TEXT},
    generation bigint NOT NULL,
    seq        bigint NOT NULL,
    event_type {_TEXT},
    ts         {_TEXT},
    actor_type {_TEXT},
    actor_id   {_TEXT},
    payload    {_TEXT},
    digest     {_TEXT},
    leaf       {_TEXT},
    origin     {_TEXT},
    UNIQUE (stream, kind, generation, seq)
)""",
    "subtrees": """
CREATE TABLE {schema}.subtrees(
    last_leaf bigint NOT NULL,
    level     bigint NOT NULL,
    hash      bytea NOT NULL,
    PRIMARY KEY (last_leaf, level)
)""",
    "projections": f"""
CREATE TABLE {{schema}}.projections(
    ordinal        bigint PRIMARY KEY,
    decision_id    {_TEXT} UNIQUE,
    generation     bigint NOT NULL,
    event_count    bigint NOT NULL,
    created_at     {_TEXT},
    last_ts        {_TEXT},
    head           {_TEXT},
    phase          {_TEXT},
    approved_until {_TEXT},
    expires_at     {_TEXT},
    policy_seq     bigint NOT NULL,
    goal           {_TEXT},
    requester      {_TEXT},
    labels         text[] COLLATE "C" NOT NULL,
    imported_count bigint NOT NULL,
    provenance     {_TEXT},
    progress       {_TEXT},
    mode           {_TEXT},
    adapter_id     {_TEXT},
    request_key    {_TEXT}
) WITH (fillfactor = 70)""",
    "approvals": f"""
CREATE TABLE {{schema}}.approvals(
    ordinal bigint NOT NULL,
    person  {_TEXT},
    seq     bigint NOT NULL,
    content {_TEXT},
    PRIMARY KEY (ordinal, person)
)""",
    "labels": f"""
CREATE TABLE {{schema}}.labels(
    label   {_TEXT},
    ordinal bigint NOT NULL,
    PRIMARY KEY (label, ordinal)
)""",
    "claims": f"""
CREATE TABLE {{schema}}.claims(
    decision_id  {_TEXT} PRIMARY KEY,
    generation   bigint NOT NULL,
    seq          bigint NOT NULL,
    owner        {_TEXT},
    claimed_at   {_TEXT},
    recovered    boolean NOT NULL,
    late_outcome {_TEXT},
    cancel       {_TEXT} DEFAULT ''
)""",
    "answers": f"""
CREATE TABLE {{schema}}.answers(
    digest    {_TEXT} PRIMARY KEY,
    content   {_TEXT},
    truncated boolean NOT NULL
)""",
    "sinks": f"""
CREATE TABLE {{schema}}.sinks(
    name       {_TEXT} PRIMARY KEY,
    cursor     bigint NOT NULL,
    holder     {_TEXT},
    held_until {_TEXT},
    trying     {_TEXT}
)""",
    "events_set_aside": f"""
CREATE TABLE {{schema}}.events_set_aside(
    sink     {_TEXT},
    position bigint NOT NULL,
    event_id {_TEXT},
    at       {_TEXT},
    why      {_TEXT},
    PRIMARY KEY (sink, position)
)""",
}
INDEXES = {
    "first_entries": """
CREATE INDEX first_entries ON {schema}.entries(kind, position) WHERE generation = 0 AND seq = 0""",
    "request_keys": """
CREATE UNIQUE INDEX request_keys ON {schema}.projections(request_key) WHERE request_key <> ''""",
    "projections_by_state": """
CREATE INDEX projections_by_state ON {schema}.projections(phase, ordinal, approved_until, expires_at)""",
    "projections_by_requester": """
CREATE INDEX projections_by_requester ON {schema}.projections(requester, ordinal)""",
    "labels_of": "CREATE INDEX labels_of ON {schema}.labels(ordinal)",
}
TRIGGERS = {
    "entries_grow_at_the_end": """
CREATE TRIGGER entries_grow_at_the_end BEFORE INSERT ON {schema}.entries
    FOR EACH ROW EXECUTE FUNCTION {schema}.require_next_position()""",
    "entries_are_not_changed": """
CREATE TRIGGER entries_are_not_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON {schema}.entries
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse_to_change_entries()""",
}
ALWAYS = "ALTER TABLE {schema}.entries ENABLE ALWAYS TRIGGER {name}"

_GRANT_AS_ON_CLAIMS = """
DO $$
DECLARE
    given record;
BEGIN
    FOR given IN SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS role, a.privilege_type
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.oid = '{schema}.claims'::regclass AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON {schema}.sinks, {schema}.events_set_aside TO %s',
            given.privilege_type, given.role);
    END LOOP;
END $$"""
"""Who has rights on `claims` gets the same on the new tables, so that a led store works without new grants."""

LEADING = {
    1: (f"ALTER TABLE {{schema}}.claims ADD COLUMN cancel {_TEXT} DEFAULT ''",),
    2: (TABLES["sinks"], TABLES["events_set_aside"], _GRANT_AS_ON_CLAIMS),
}
"""The statements that lead from each earlier version to the next. Version 1 could not cancel an execution; version 2
told nobody what happens.
"""

GRANTS = """
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};
GRANT INSERT ON {schema}.entries TO {role};
GRANT INSERT, UPDATE, DELETE ON {schema}.subtrees, {schema}.projections, {schema}.approvals, {schema}.labels,
    {schema}.claims, {schema}.answers, {schema}.sinks,
    {schema}.events_set_aside TO {role};
"""
"""What an application's role needs, to be run by the owner of the tables. It may not UPDATE, DELETE or TRUNCATE
`entries`. A role that only reads needs the first two.
"""


def grants(schema: str, role: str) -> str:
    """`GRANTS` for this schema and role.

    >>> print(grants("nexus_control", "app").strip().splitlines()[0])
    GRANT USAGE ON SCHEMA "nexus_control" TO "app";
    """
    return GRANTS.format(schema=quoted(schema), role=quoted(role))


def quoted(name: str) -> str:
    """A name as SQL writes it.

    >>> quoted('a"b')
    '"a""b"'
    """
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def statements(schema: str) -> list[str]:
    """What makes the tables of a store in this schema, which is there already."""
    made = [*TABLES.values(), *FUNCTIONS.values(), *INDEXES.values(), *TRIGGERS.values()]
    always = [ALWAYS.format(schema=schema, name=name) for name in TRIGGERS]
    return [statement.format(schema=schema) for statement in made] + always


def prepare(link: Link, address: Address, schema: str) -> None:
    """Make the store, or lead an earlier version to this one, unless that is done. Raises STORE_UNAVAILABLE for tables
    of another program or version.
    """
    found = _made_version(link, address, schema)
    if found == VERSION:
        return
    try:
        with link.connection.transaction():
            # Somebody else may be making it: one does, the others wait and find it made.
            link.execute("SELECT pg_advisory_xact_lock(%s::int, hashtext(%s))", (LOCK_CLASS, schema))
            version = _made_version(link, address, schema)
            if version is None:
                _make(link, schema)
            else:
                _lead(link, schema, version)
    except psycopg.errors.InsufficientPrivilege as error:
        why, advice = "holds no store yet, and this role may not make one", _ADVICE_OF_OWNER
        if found is not None:
            why, advice = (
                "was written by an earlier version, and this role may not lead it",
                _ADVICE_OF_LEADER,
            )
        raise NexusControlError(
            ErrorCode.STORE_UNAVAILABLE,
            f"{address.where} {why}: {error.diag.message_primary}",
            {"path": address.where, "schema": schema},
            advice,
        ) from error


def _make(link: Link, schema: str) -> None:
    name = quoted(schema)
    if link.execute("SELECT to_regnamespace(%s)::text", (name,))[0][0] is None:
        link.execute(f"CREATE SCHEMA {name}")
    for statement in statements(name):
        link.execute(statement)
    sql = f"INSERT INTO {name}.store(application, version) VALUES (%s, %s)"
    link.execute(sql, (APPLICATION, VERSION))


def _lead(link: Link, schema: str, version: int) -> None:
    for earlier in range(version, VERSION):
        for statement in LEADING[earlier]:
            link.execute(statement.format(schema=quoted(schema)))
    link.execute(f"UPDATE {quoted(schema)}.store SET version = %s", (VERSION,))


def is_made(link: Link, address: Address, schema: str) -> bool:
    """Whether there is a store of this version, or of one that this version leads. Raises as `prepare`."""
    return _made_version(link, address, schema) is not None


def _made_version(link: Link, address: Address, schema: str) -> int | None:
    named = {"path": address.where, "schema": schema}
    tables = {
        name
        for (name,) in link.execute(
            "SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind IN ('r', 'p')",
            (quoted(schema),),
        )
    }
    if tables.isdisjoint(TABLES):
        return None
    columns = [
        row[0]
        for row in link.execute(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0",
            (f"{quoted(schema)}.store",),
        )
    ]
    is_ours = columns[:3] == ["single", "application", "version"]
    found = link.execute(f"SELECT application, version FROM {quoted(schema)}.store") if is_ours else []
    if len(found) != 1 or found[0][0] != APPLICATION:
        raise damaged(
            f"the schema {schema} of {address.where} has tables of another program: name another schema,"
            " ?options=-csearch_path=NAME",
            **named,
        )
    version: int = found[0][1]
    if version not in (*LEADING, VERSION):
        raise NexusControlError(
            ErrorCode.STORE_UNAVAILABLE,
            f"{address.where} was written by {'a newer' if version > VERSION else 'an earlier'} nexus-control: its"
            f" schema is {version}, this version reads {VERSION}",
            named | {"schema": version},
            _UPGRADE if version > VERSION else _EARLIER,
        )
    return version
