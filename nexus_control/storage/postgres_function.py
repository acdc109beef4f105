"""What the server itself does: it appends to the log and to the tree, and checks for a whole write in one call.

`append_entry` gives an entry the next position, and adds the hashes of the subtrees that its leaf completes, exactly as
`evidence.formats.merkle.grow` computes them: node = SHA-256(0x01 || left || right). The caller holds the store's lock.

`append_event` is a write in one round trip. It takes the store's lock, and appends one event of one decision if the
decision's row is still the one that the caller saw: `seen` is the transaction that wrote that row (`xmin`), and every
change of a row is another transaction. `is_first` tells an approval of a person who has none in this decision yet; it
is NULL where the event changes no approval. The answer is the transaction of the new row; NULL where the row is another
one, or the store was moved, and then nothing was written. So it is after a wait of a second for the lock, too: the
caller read the clock before it, and would date its event, and judge what has expired, by that. The function runs with
the rights of its caller.
"""

from typing import get_args

from nexus_control.storage.contract import EntryKind

_KINDS = ", ".join(f"'{kind}'" for kind in get_args(EntryKind))

LOCK_CLASS = int.from_bytes(b"NxCt", "big")

LOCK = f"pg_advisory_xact_lock({LOCK_CLASS << 32} | '{{schema}}.entries'::regclass::oid::bigint)"
"""The lock of all writers of one store, for a transaction."""

_ENTRY = """
    kind text, stream text, generation bigint, seq bigint, event_type text, ts text, actor_type text, actor_id text,
    payload text, digest text, leaf text, origin text
"""

_APPENDING = """
    place bigint;
    node bytea := decode(leaf, 'hex');
    height integer := 0;
    index bigint;"""

_APPEND = """
    INSERT INTO {schema}.entries VALUES
        (NULL, kind, stream, generation, seq, event_type, ts, actor_type, actor_id, payload, digest, leaf, origin)
        RETURNING position INTO place;
    INSERT INTO {schema}.subtrees VALUES (place, 0, node);
    index := place;
    WHILE index & 1 = 1 LOOP
        INSERT INTO {schema}.subtrees
            SELECT place, height + 1, sha256('\\x01'::bytea || s.hash || node) FROM {schema}.subtrees s
            WHERE s.last_leaf = (index << height) - 1 AND s.level = height
            RETURNING hash INTO node;
        IF node IS NULL THEN
            RAISE EXCEPTION 'the tree is not whole' USING ERRCODE = 'data_corrupted';
        END IF;
        height := height + 1;
        index := index >> 1;
    END LOOP;"""
"""A part of both functions, because a call of one by the other is a twentieth of an append."""

_APPEND_ENTRY = f"""
CREATE FUNCTION {{schema}}.append_entry({_ENTRY}) RETURNS bigint LANGUAGE plpgsql SECURITY INVOKER AS $body$
DECLARE{_APPENDING}
BEGIN{_APPEND}
    RETURN place;
END
$body$"""

_APPEND_EVENT = f"""
CREATE FUNCTION {{schema}}.append_event(
    ordinal_ bigint, seen text, head_ text, phase_ text, approved_until_ text, progress_ text,
    is_first boolean, person_ text, approval_seq bigint, content_ text,{_ENTRY}) RETURNS text
LANGUAGE plpgsql SECURITY INVOKER AS $body$
DECLARE
    written text;
    asked timestamptz := clock_timestamp();{_APPENDING}
BEGIN
    written := {LOCK};
    IF clock_timestamp() - asked > interval '1 second' THEN
        RETURN NULL;
    END IF;
    UPDATE {{schema}}.projections p
        SET event_count = seq + 1, last_ts = ts, head = leaf, phase = phase_, approved_until = approved_until_,
            progress = progress_
        WHERE p.ordinal = ordinal_ AND p.decision_id = stream AND p.xmin = seen::xid
            AND p.generation = append_event.generation AND p.event_count = seq AND p.head = head_
            AND (SELECT s.moved FROM {{schema}}.store s) IS NULL
        RETURNING p.xmin::text INTO written;
    IF written IS NULL THEN
        RETURN NULL;
    END IF;{_APPEND}
    IF is_first THEN
        INSERT INTO {{schema}}.approvals VALUES (ordinal_, person_, approval_seq, content_);
    ELSIF person_ IS NOT NULL THEN
        UPDATE {{schema}}.approvals a SET seq = approval_seq, content = content_
            WHERE a.ordinal = ordinal_ AND a.person = person_;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'an approval is missing' USING ERRCODE = 'data_corrupted';
        END IF;
    END IF;
    RETURN written;
END
$body$"""

_REQUIRE_NEXT_POSITION = f"""
CREATE FUNCTION {{schema}}.require_next_position() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
    next bigint;
BEGIN
    SELECT e.position + 1 INTO next FROM {{schema}}.entries e ORDER BY e.position DESC LIMIT 1;
    next := coalesce(next, 0);
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
