"""Generated allowed_signers files, and where ours is known to read a line otherwise than ssh-keygen does.

A line is made of parts. A part that ours reads otherwise belongs to a named class (`DIFFERENCES`), and has a twin: what
ssh-keygen must be given to read it as ours does. So ours, on a file, must say what ssh-keygen says on the file's twin;
where no part has a twin the two are the same file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.evidence.ssh import (
    NAMESPACE,
    SK_ECDSA,
    SK_ED25519,
    Authenticator,
    armor,
    ed25519,
    mpint,
    mpints,
    public_line,
    signed,
    sshsig,
    string,
    to_sign,
)
from tests.support.passkey import Passkey

MESSAGE = b"a message"
PRINCIPALS = (*("bob@example.com", "bob", "bob smith", "b\u00f6b") * 4, "Bob@Example.com")

DIFFERENCES = {
    "case": "principals are ids of actors, and compare case-folded",
    "characters": "a question mark is a character, not a byte",
    "zone": "a time without Z is in UTC, whatever the zone of the machine",
    "verify-required": "an option of ours, which ssh-keygen does not know",
    "calendar": "a day or a second that no calendar has is no time",
    "control": "a program reads a control character that a person does not see",
    "hidden": "a principal with a character that nobody sees, or one that is not in NFKC, is nobody's id",
    "web site": "no browser signs with such a key, so a program of its own would have",
    "weak key": "a key that anybody can break, or under which one signature fits all, proves nothing",
}


@dataclass(frozen=True, slots=True)
class Part:
    """Some text of a line. `twin` is what ssh-keygen reads as ours reads the text; None where ours skips the line."""

    text: bytes
    twin: bytes | None
    classes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file, who is said to have signed, and their signature."""

    lines: tuple[Part, ...]
    principal: str
    signature: str
    last_newline: bool = True

    @property
    def content(self) -> bytes:
        return self._joined([line.text for line in self.lines])

    @property
    def twin(self) -> bytes:
        return self._joined([line.twin for line in self.lines if line.twin is not None])

    @property
    def classes(self) -> frozenset[str]:
        folded = frozenset[str]() if self.principal == self.principal.casefold() else frozenset({"case"})
        return folded.union(*(line.classes for line in self.lines))

    def _joined(self, lines: Sequence[bytes]) -> bytes:
        return b"\n".join(lines) + (b"\n" if self.last_newline else b"")


@dataclass(frozen=True, slots=True)
class Signer:
    """A key as a line has it, and its signature over MESSAGE."""

    key: Part
    signature: str
    is_security_key: bool = False


def same(text: str) -> Part:
    return Part(text.encode(), text.encode())


def other(name: str, text: str | bytes, twin: str | None = None) -> Part:
    """A part of a named class. Without a twin ours skips the line."""
    raw = text if isinstance(text, bytes) else text.encode()
    return Part(raw, None if twin is None else twin.encode(), frozenset({name}))


def joined(*parts: Part) -> Part:
    twins = [part.twin for part in parts]
    return Part(
        b"".join(part.text for part in parts),
        None if None in twins else b"".join(twin for twin in twins if twin is not None),
        frozenset[str]().union(*(part.classes for part in parts)),
    )


def signers() -> dict[str, Signer]:
    """A key of each kind: those that ours takes, and those that only ssh-keygen takes."""
    made = {"ed25519": Signer(same(public_line(ed25519(3)[0])), signed(3, MESSAGE))}
    for name, curve, digest in (
        ("nistp256", ec.SECP256R1(), hashes.SHA256()),
        ("nistp384", ec.SECP384R1(), hashes.SHA384()),
        ("nistp521", ec.SECP521R1(), hashes.SHA512()),
    ):
        made[name] = _ecdsa(name, ec.derive_private_key(9, curve), digest)
    blob, signature = _rsa(2048)
    made["rsa"] = Signer(same(public_line(blob)), signature)
    made["rsa by another name"] = Signer(
        same(public_line(blob).replace("ssh-rsa", "rsa-sha2-256", 1)), signature
    )
    for name, kind in (("sk-ed25519", SK_ED25519), ("sk-ecdsa", SK_ECDSA)):
        device = Authenticator(kind)
        made[name] = Signer(same(public_line(device.blob)), device.signed(MESSAGE, 0x05), True)
    passkey, site = Passkey(), Authenticator(SK_ED25519, "localhost")
    made["passkey"] = Signer(same(passkey.line), passkey.signed(MESSAGE), True)
    made["web site"] = Signer(other("web site", public_line(site.blob)), site.signed(MESSAGE, 0x05), True)
    for name, (blob, signature) in {"short rsa": _rsa(1024), "dsa": _dsa(), "weak": _small_order()}.items():
        made[name] = Signer(other("weak key", public_line(blob)), signature)
    return made


def _ecdsa(name: str, private: ec.EllipticCurvePrivateKey, digest: hashes.HashAlgorithm) -> Signer:
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    kind = string(f"ecdsa-sha2-{name}")
    key = kind + string(name) + string(point)
    value = mpints(private.sign(to_sign(MESSAGE), ec.ECDSA(digest)))
    return Signer(same(public_line(key)), armor(sshsig(key, kind + string(value))))


def _rsa(bits: int) -> tuple[bytes, str]:
    private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    numbers = private.public_key().public_numbers()
    key = string("ssh-rsa") + mpint(numbers.e) + mpint(numbers.n)
    value = private.sign(to_sign(MESSAGE), padding.PKCS1v15(), hashes.SHA512())
    return key, armor(sshsig(key, string("rsa-sha2-512") + string(value)))


def _dsa() -> tuple[bytes, str]:
    private = dsa.generate_private_key(1024)
    public = private.public_key().public_numbers()
    of_group = public.parameter_numbers
    key = string("ssh-dss") + b"".join(map(mpint, (of_group.p, of_group.q, of_group.g, public.y)))
    r, s = decode_dss_signature(private.sign(to_sign(MESSAGE), hashes.SHA1()))
    value = r.to_bytes(20, "big") + s.to_bytes(20, "big")
    return key, armor(sshsig(key, string("ssh-dss") + string(value)))


def _small_order() -> tuple[bytes, str]:
    identity = b"\1" + bytes(31)
    key = string("ssh-ed25519") + string(identity)
    return key, armor(sshsig(key, string("ssh-ed25519") + string(identity + bytes(32))))


def generated(random: Random, known: dict[str, Signer]) -> File:
    """A file of one to six lines, of which most are about the one who signed."""
    signer = _one_of(random, known)
    principal = random.choice(PRINCIPALS)
    lines = [
        _noise(random, principal, signer)
        if random.random() < 0.3
        else _line(random, principal, signer, known)
        for _ in range(random.randint(1, 6))
    ]
    return File(
        lines=tuple(lines),
        principal=principal,
        signature=signer.signature,
        last_newline=random.random() < 0.8,
    )


def _line(random: Random, principal: str, signer: Signer, known: dict[str, Signer]) -> Part:
    """Mostly a line that is whole; each of its parts is at times odd."""
    blanks = [same(random.choice((" ", " ", "\t", "  ", " \t"))) for _ in range(3)]
    key = _key(random, signer, known)
    options = [] if random.random() < 0.45 else [_options(random, signer), blanks[1]]
    comment = [] if random.random() < 0.5 else [blanks[2], _comment(random)]
    named = _principals(random, principal)
    quoted = named.text.endswith(b'"') and random.random() < 0.3
    return joined(
        same(random.choice(("", "", "", " ", "\t", "\r"))),
        named,
        same("") if quoted else blanks[0],
        *options,
        key,
        *comment,
        same(random.choice(("", "", "", "\r", " "))),
    )


def _noise(random: Random, principal: str, signer: Signer) -> Part:
    key = signer.key.text.decode()
    return random.choice(
        (
            same(""),
            same(" \t"),
            same("# a comment"),
            same(f"\t# {principal} {key}"),
            Part(b"# M\xfcller", b"# M\xfcller"),
            same("nonsense"),
            same(f'"{principal}'),
            same(f'"{principal} {key}'),
            same(f'"{principal}"'),
            same(f"{principal}"),
            same(f"{principal} ssh-mldsa-65 AAAADHNzaC1tbGRzYS02NQ=="),
            same(f"{principal} ssh-ed25519-cert-v01@openssh.com AAAA"),
            same(f'{principal} namespaces="*"'),
            same("\ufeff# with a byte order mark"),
            same(f"\ufeff{principal} {key}"),
            other("control", f"\0{principal} {key}"),
        )
    )


def _principals(random: Random, principal: str) -> Part:
    folded = principal.casefold()
    plain = principal if " " not in principal else f'"{principal}"'
    choices: list[Callable[[], Part]] = [
        lambda: same("*"),
        lambda: same(f'"{folded}"'),
        lambda: same(f'"carol,{folded}"'),
        lambda: same(f'"{folded[:2]}*"'),
        lambda: same(f'"*{folded[-2:]},dave"'),
        lambda: same(f'*,"!{folded}"'),
        lambda: same("*,!carol"),
        lambda: same("!carol"),
        lambda: same("carol"),
        lambda: same(f'carol,,"{folded}"'),
        lambda: same(f'"carol, {folded}"'),
        lambda: same(f'{folded[0]}"{folded[1:]}"'),
        lambda: same(f'"{folded},{"x" * random.choice((1_022, 1_023))}"'),
        lambda: same(f'"!!{folded},{folded}"'),
        lambda: same('""'),
        lambda: _question_mark(folded),
    ]
    read_otherwise: list[Callable[[], Part]] = [
        lambda: other("case", f'"{folded.upper()}"', f'"{folded}"'),
        lambda: other("case", f'*,"!{folded.upper()}"', f'*,"!{folded}"'),
        lambda: other("hidden", f'"{folded},\u200bcarol"'),
        lambda: other("hidden", f'"\uff0a,{folded}"'),
    ]
    if random.random() < 0.04:
        return random.choice(read_otherwise)()
    if random.random() < 0.5:
        return same(plain) if plain == plain.casefold() else other("case", plain, plain.casefold())
    return random.choice(choices)()


def _question_mark(folded: str) -> Part:
    pattern = f'"{folded[:1]}?{folded[2:]}"'
    if folded[1:2].isascii():
        return same(pattern)
    return other("characters", pattern, pattern.replace("?", "?" * len(folded[1:2].encode())))


def _options(random: Random, signer: Signer) -> Part:
    fine = [
        same(f'namespaces="{NAMESPACE}"'),
        same('NameSpaces="file,nexus-*"'),
        same('namespaces="a \\" b,*"'),
        same('namespaces="*,!file"'),
        same('namespaces="?exus*"'),
        same('valid-after="20260101Z"'),
        same('valid-after="202601010000UTC"'),
        same('Valid-Before="20270101000000z"'),
    ]
    read_otherwise = [
        other("calendar", 'valid-before="20270230Z"'),
        other("calendar", 'valid-after="20260101235960Z"'),
        other("calendar", 'valid-after="2026 1 1Z"'),
        other("zone", 'valid-after="20261123120000"', 'valid-after="20261123120000Z"'),
        other("zone", 'valid-before="202611231159"', 'valid-before="202611231159Z"'),
    ]
    odd = [
        same('namespaces="file"'),
        same('namespaces="*,!nexus-*"'),
        same('namespaces=""'),
        same(f'namespaces="{"x" * 1_023},*"'),
        same('valid-after="20261123120001Z"'),
        same('valid-before="20261123115959Z"'),
        same('valid-after="2026-01-01"'),
        same('valid-after="19700101Z"'),
        same('valid-after="00000101Z"'),
        same('valid-before="20261301Z"'),
        same("namespaces=file"),
        same('namespaces="file'),
        same("namespaces"),
        same("cert-authority"),
        same("CERT-AUTHORITY"),
        same("touch-required"),
        same("no-touch-required"),
        same('unknown="x"'),
        same("*"),
        same("verify-required") if not signer.is_security_key else same("touch-required"),
    ]
    chosen = random.choices(fine, k=random.choice((1, 1, 2)))
    if random.random() < 0.35:
        chosen.append(random.choice(odd))
    if random.random() < 0.06:
        chosen.append(random.choice(read_otherwise))
    random.shuffle(chosen)
    comma = random.choice((",", ",", ",", ",,", ", ", ""))
    parts = [chosen[0]]
    for option in chosen[1:]:
        parts += [same(comma), option]
    before, after = random.choice((("", ""),) * 6 + ((",", ""), ("", ","), (",", ",")))
    # Ours takes it for a security key alone, and those of here verified their user. To ssh-keygen nothing is an option.
    is_strict = signer.is_security_key and random.random() < 0.1
    strict = [other("verify-required", "verify-required,", ",")] if is_strict else []
    return joined(same(before), *strict, *parts, same(after))


def _key(random: Random, signer: Signer, known: dict[str, Signer]) -> Part:
    if random.random() < 0.65:
        return signer.key
    kind, encoded = signer.key.text.decode().split(" ")
    broken = [
        f"{kind} {encoded[:-4]}",
        f"{kind} {encoded}=",
        f"{kind} {encoded[:8]}*{encoded[9:]}",
        f"{kind}",
        f"{kind.upper()} {encoded}",
        f"ssh-ed448 {encoded}",
        f'"{kind}" {encoded}',
        f"{'ssh-rsa' if 'rsa' not in kind else 'ssh-ed25519'} {encoded}",
    ]
    if random.random() < 0.5:
        return same(random.choice(broken))
    return _one_of(random, known).key


def _one_of(random: Random, known: dict[str, Signer]) -> Signer:
    """One of the keys; of those that ours does not take, seldom one."""
    taken = [signer for signer in known.values() if not signer.key.classes]
    return random.choice(taken if random.random() < 0.95 else list(known.values()))


def _comment(random: Random) -> Part:
    if random.random() < 0.04:
        return other("control", random.choice((b"a\0b", b"a\x1b[2K", b"a\rcarol")))
    return random.choice(
        (
            same("bob at home"),
            same('a "comment'),
            same("# no comment, = and more"),
            same("x" * 30_000),
            Part(b"M\xfcller", b"M\xfcller"),
        )
    )
