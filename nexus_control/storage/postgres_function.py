"""What the server itself does: it appends to the log and to the tree, and checks for a whole write in one call.

`append_entry` gives an entry the next position, and adds the hashes of the subtrees that its leaf completes, exactly as
`evidence.formats.merkle.grow` computes them: node = SHA-256(0x01 || left || right). The caller holds the store's lock.

`append_event` is a write in one round trip. It takes the store's lock, and appends one event of one decision if the
decision's row is still the one that the caller saw: `seen` is the transaction that wrote that row (`xmin`), and every
change of a row is another transaction. It answers the transaction of the new row; NULL where the row is another one, or
the store was moved, and then nothing was written. So it answers after a wait of a second for the lock, too: the caller
read the clock before it, and would date its event, and judge what has expired, by that. It runs with the rights of its
caller.
"""

from typing import get_args

from nexus_control.storage.contract import EntryKind

_KINDS = ", ".join(f"'{kind}'" for kind in get_args(EntryKind))

LOCK_CLASS = int.from_bytes(b"NxCt", "big")

LOCK = f"pg_advisory_xact_lock({LOCK_CLASS << 32} | '{{schema}}.entries'::regclass::oid::bigint)"
"""The lock of all writers of one store, for a transaction."""

_APPEND_ENTRY = """
CREATE FUNCTION {schema}.append_entry(
    kind text, stream text, generation bigint, seq bigint, event_type text, ts text, actor_type text, actor_id text,
    payload text, digest text, leaf text, origin text
) RETURNS bigint LANGUAGE plpgsql SECURITY INVOKER AS $body$
DECLARE
    place bigint;
    node bytea := decode(leaf, 'hex');
    height bigint := 0;
    index bigint;
BEGIN
    INSERT INTO {schema}.entries VALUES
        (NULL, kind, stream, generation, seq, event_type, ts, actor_type, actor_id, payload, digest, leaf, origin)
        RETURNING position INTO place;
    INSERT INTO {schema}.subtrees VALUES (place, 0, node);
    index := place;
    WHILE index & 1 = 1 LOOP
        INSERT INTO {schema}.subtrees
            SELECT place, height + 1, sha256('\\x01'::bytea || s.hash || node) FROM {schema}.subtrees s
            WHERE s.last_leaf = (index << height::integer) - 1 AND s.level = height
            RETURNING hash INTO node;
        IF node IS NULL THEN
            RAISE EXCEPTION 'the tree is not whole' USING ERRCODE = 'data_corrupted';
        END IF;
        height := height + 1;
        index := index >> 1;
    END LOOP;
    RETURN place;
END
$body$"""

_APPEND_EVENT = f"""
CREATE FUNCTION {{schema}}.append_event(
    ordinal_ bigint, seen text, head_ text, phase_ text, approved_until_ text, progress_ text,
    person_ text, approval_seq bigint, content_ text,
    kind text, stream text, generation_ bigint, seq_ bigint, event_type text, ts_ text, actor_type text, actor_id text,
    payload text, digest text, leaf text, origin text
) RETURNS text LANGUAGE plpgsql SECURITY INVOKER AS $body$
DECLARE
    written text;
    asked timestamptz := clock_timestamp();
BEGIN
    PERFORM {LOCK};
    IF clock_timestamp() - asked > interval '1 second' THEN
        RETURN NULL;
    END IF;
    UPDATE {{schema}}.projections p
        SET event_count = seq_ + 1, last_ts = ts_, head = leaf, phase = phase_, approved_until = approved_until_,
            progress = progress_
        WHERE p.ordinal = ordinal_ AND p.decision_id = stream AND p.xmin = seen::xid
            AND p.generation = generation_ AND p.event_count = seq_ AND p.head = head_
            AND (SELECT s.moved FROM {{schema}}.store s) IS NULL
        RETURNING p.xmin::text INTO written;
    IF written IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM {{schema}}.append_entry(kind, stream, generation_, seq_, event_type, ts_, actor_type, actor_id, payload,
        digest, leaf, origin);
    IF person_ IS NOT NULL THEN
        INSERT INTO {{schema}}.approvals VALUES (ordinal_, person_, approval_seq, content_)
            ON CONFLICT (ordinal, person) DO UPDATE SET seq = excluded.seq, content = excluded.content;
    END IF;
    RETURN written;
END
$body$"""

_REQUIRE_NEXT_POSITION = f"""
CREATE FUNCTION {{schema}}.require_next_position() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
    next bigint := (SELECT coalesce(max(position) + 1, 0) FROM {{schema}}.entries);
BEGIN
    NEW.position := coalesce(NEW.position, next);
    IF NEW.position <> next THEN
        RAISE EXCEPTION 'entries are append-only: this position is not the next one'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.kind NOT IN ({_KINDS}) OR NEW.actor_type NOT IN ('human', 'system')
        OR NEW.origin NOT IN ('local', 'imported') THEN
        RAISE EXCEPTION 'an entry with an unknown kind, actor_type or origin' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$body$"""

_REFUSE_TO_CHANGE = """
CREATE FUNCTION {schema}.refuse_to_change_entries() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    RAISE EXCEPTION 'entries are append-only: no %', TG_OP USING ERRCODE = 'integrity_constraint_violation';
END
$body$"""

FUNCTIONS = {
    "require_next_position": _REQUIRE_NEXT_POSITION,
    "refuse_to_change_entries": _REFUSE_TO_CHANGE,
    "append_entry": _APPEND_ENTRY,
    "append_event": _APPEND_EVENT,
}
