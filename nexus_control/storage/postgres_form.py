"""The form of a PostgreSQL store: its tables, functions, indexes and triggers, compared with those of a new store.

The new store is made among the connection's temporary tables, in a transaction that is rolled back, and both are
described by the server itself. A table is described by its columns and constraints, and by what could make it lose or
hide rows (UNLOGGED, row-level security). A trigger that was switched off, and an index that is not valid, are not as
they were made. Owners and grants are not compared.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from nexus_control.storage.postgres_function import FUNCTIONS, LOCK
from nexus_control.storage.postgres_link import UNBOUNDED, Link
from nexus_control.storage.postgres_schema import ALWAYS, INDEXES, TABLES, TRIGGERS, quoted, statements

_TEMPORARY = "pg_temp"
_DROPPED_FIRST = ("trigger", "rule", "view", "index", "function")
"""The types of object that hold no data, in the order in which they can be dropped."""


class _Made(NamedTuple):
    type: str
    name: str
    table: str
    text: str


Form: TypeAlias = Mapping[tuple[str, str], _Made]
"""By type and name."""

_TABLES = """
SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence'
        ELSE 'relation' END, c.relname::text, c.relname::text,
    concat_ws(' ', c.relpersistence = 'u', c.relrowsecurity, c.reloptions,
    (SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, o.collname,
            a.attgenerated, a.attidentity, pg_get_expr(d.adbin, d.adrelid)), ', ' ORDER BY a.attnum)
        FROM pg_attribute a LEFT JOIN pg_collation o ON o.oid = a.attcollation
            LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    (SELECT string_agg(concat_ws(' ', k.conname, pg_get_constraintdef(k.oid)), ', ' ORDER BY k.conname)
        FROM pg_constraint k WHERE k.conrelid = c.oid),
    CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END)
FROM pg_class c WHERE c.relnamespace = %s::bigint::oid AND c.relkind NOT IN ('i', 'I', 't', 'c')"""
_INDEXES = """
SELECT 'index', c.relname::text, t.relname::text, concat_ws(' ', i.indisvalid, i.indisready, pg_get_indexdef(c.oid))
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
WHERE t.relnamespace = %s::bigint::oid AND t.relkind <> 't'
    AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = c.oid)"""
_TRIGGERS = """
SELECT 'trigger', g.tgname::text, t.relname::text, concat_ws(' ', g.tgenabled, pg_get_triggerdef(g.oid))
FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid WHERE t.relnamespace = %s::bigint::oid AND NOT g.tgisinternal"""
_RULES = """
SELECT 'rule', r.rulename::text, t.relname::text, pg_get_ruledef(r.oid)
FROM pg_rewrite r JOIN pg_class t ON t.oid = r.ev_class WHERE t.relnamespace = %s::bigint::oid AND t.relkind <> 'v'"""
_FUNCTIONS = """
SELECT 'function', format('%%s(%%s)', p.proname, pg_get_function_identity_arguments(p.oid)), '',
    pg_get_functiondef(p.oid)
FROM pg_proc p WHERE p.pronamespace = %s::bigint::oid AND p.prokind IN ('f', 'p')"""


def form_differences(link: Link) -> list[str]:
    """Each object that is missing, added or changed, in one line. Raises `psycopg.Error`."""
    expected, found = _expected(link), _form_of(link, link.schema)
    missing = [
        f"the {made.type} {made.name} is missing" for key, made in expected.items() if key not in found
    ]
    added = [
        f"the {made.type} {made.name:.80}{made.table and ' on '}{made.table:.80} was added"
        for key, made in found.items()
        if key not in expected
    ]
    changed = [
        f"the {made.type} {made.name} is not as it was made"
        for key, made in expected.items()
        if key in found and found[key] != made
    ]
    return missing + added + changed


def mend_form(link: Link) -> None:
    """Make functions, triggers, views and indexes as expected, and fill the indexes again. Tables are left as they are.
    Raises `psycopg.Error`.
    """
    expected, schema = _expected(link), quoted(link.schema)
    with link.connection.transaction():
        link.execute(f"SELECT {LOCK}".format(schema=schema))
        link.execute(UNBOUNDED)
        found = _form_of(link, link.schema)
        for kind in _DROPPED_FIRST:
            for key, made in found.items():
                if (
                    made.type == kind
                    and expected.get(key) != made
                    and not (kind == "function" and key in expected)
                ):
                    link.execute(_drop(made, schema))
        for key, made in expected.items():
            if found.get(key) != made and made.type in _DROPPED_FIRST:
                for statement in _making(made):
                    link.execute(statement.format(schema=schema))
        for name in TABLES:
            link.execute(f"REINDEX TABLE {schema}.{name}")


def _expected(link: Link) -> Form:
    """The form of a new store."""
    with link.connection.transaction(force_rollback=True):
        for statement in statements(_TEMPORARY):
            link.execute(statement, prepare=False)
        ((name,),) = link.execute("SELECT nspname::text FROM pg_namespace WHERE oid = pg_my_temp_schema()")
        return _form_of(link, name)


def _form_of(link: Link, schema: str) -> Form:
    ((namespace,),) = link.execute("SELECT to_regnamespace(%s)::oid::bigint", (quoted(schema),))
    names = "|".join(re.escape(name) for name in (schema, quoted(schema), _TEMPORARY))
    prefix = re.compile(rf"(?<![\w\"])(?:{names})\.")
    rows = [
        row
        for sql in (_TABLES, _FUNCTIONS, _INDEXES, _TRIGGERS, _RULES)
        for row in link.execute(sql, (namespace,))
    ]
    return {(kind, name): _Made(kind, name, table, prefix.sub("", text)) for kind, name, table, text in rows}


def _drop(made: _Made, schema: str) -> str:
    if made.type == "function":
        name, _, arguments = made.name.partition("(")
        return f"DROP ROUTINE {schema}.{quoted(name)}({arguments}"
    if made.type in ("trigger", "rule"):
        return f"DROP {made.type} {quoted(made.name)} ON {schema}.{quoted(made.table)}"
    return f"DROP {made.type} {schema}.{quoted(made.name)}"


def _making(made: _Made) -> list[str]:
    if made.type == "function":
        return [FUNCTIONS[made.name.partition("(")[0]].replace("CREATE", "CREATE OR REPLACE", 1)]
    if made.type == "index":
        return [INDEXES[made.name]]
    return [TRIGGERS[made.name], ALWAYS.replace("{name}", made.name)]
