"""Chains of certificates, judged by `openssl ts -verify` and here, at the time of the token.

Where the two differ, the reason is a `Difference`, and stands in docs/reference/signatures.md in these words.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from itertools import permutations
from pathlib import Path
from typing import Final, Literal, TypeAlias

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.timestamp import verify_timestamp
from nexus_control.system.clock import SYSTEM_CLOCK
from tests.evidence.chains import CA, LEAF, Link, certified_in, chain_in, openssl_verifies, token_in
from tests.evidence.openssl import Certified, needs_openssl
from tests.support.places import REPOSITORY

pytestmark = needs_openssl
MESSAGE = b"message"


class Difference(Enum):
    """Why the two differ, and whether such a chain is taken here."""

    WEAK = "a key or a hash that is too weak, or that authorities of the web may not use", False
    UNMARKED_ROOT = "a root that does not say that it is an authority", False
    PURPOSE = "a purpose beside timestamps that openssl does not know", False
    CONSTRAINED = "name constraints of other names than DNS names and addresses", False
    PROCESSED = "critical extensions on policies or revocation, which are not processed here", False
    SELF_ISSUED = "an authority's next key, certified by its last one below a path length", False
    DEPTH = "more than eight authorities between the signer and the root", False
    COMMON_NAME = "a common name that looks like a DNS name outside of the constraints", True
    SECOND_WAY = "a second way to a root, where the first leads to one that is not trusted", True
    PINNED = "a trusted certificate that is not a root", True


Verdict: TypeAlias = Literal["taken", "refused"] | Difference


def link(extensions: str = CA, more: str = "", **how: object) -> Link:
    return Link(extensions=f"{extensions}\n{more}", **how)  # pyright: ignore[reportArgumentType]


def purpose(value: str) -> Link:
    return link(f"keyUsage=critical,digitalSignature\nextendedKeyUsage={value}")


def usage(value: str) -> Link:
    return link(f"keyUsage={value}\nextendedKeyUsage=critical,timeStamping")


def constrained(value: str) -> Link:
    return link(CA, f"nameConstraints={value}\n[name]\nO=Example")


def named(names: str) -> Link:
    return link(LEAF, f"subjectAltName={names}\n[name]\nO=Example")


def path_length(most: int) -> Link:
    return link(CA.replace("TRUE", f"TRUE,pathlen:{most}"))


UNKNOWN, UNKNOWN_CRITICAL = "1.2.3.4.5=ASN1:NULL", "1.2.3.4.5=critical,ASN1:NULL"
NO_SIGNING_OF_CERTIFICATES = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,cRLSign"
SHA1, PSS = ("-sha1",), ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1")
SIGNER, ROOT, BETWEEN = link(LEAF), link(), link()
YEARS = 3650

# name: root, authorities between, signer, verdict
CHAINS: Final[dict[str, tuple[Link, Sequence[Link], Link, Verdict]]] = {
    "no authority between": (ROOT, (), SIGNER, "taken"),
    "one authority between": (ROOT, (BETWEEN,), SIGNER, "taken"),
    "eight authorities between": (ROOT, (BETWEEN,) * 8, SIGNER, "taken"),
    "nine authorities between": (ROOT, (BETWEEN,) * 9, SIGNER, Difference.DEPTH),
    # extensions
    "unknown extension of the signer": (ROOT, (BETWEEN,), link(LEAF, UNKNOWN), "taken"),
    "unknown extension between": (ROOT, (link(CA, UNKNOWN),), SIGNER, "taken"),
    "unknown extension of the root": (link(CA, UNKNOWN), (BETWEEN,), SIGNER, "taken"),
    "unknown critical extension of the signer": (ROOT, (BETWEEN,), link(LEAF, UNKNOWN_CRITICAL), "refused"),
    "unknown critical extension between": (ROOT, (link(CA, UNKNOWN_CRITICAL),), SIGNER, "refused"),
    "unknown critical extension of the root": (link(CA, UNKNOWN_CRITICAL), (BETWEEN,), SIGNER, "refused"),
    "critical TLS feature": (ROOT, (), link(LEAF, "tlsfeature=critical,status_request"), "refused"),
    "critical key identifier": (ROOT, (), link(LEAF, "subjectKeyIdentifier=critical,hash"), "refused"),
    "critical issuer's key": (
        ROOT,
        (),
        link(LEAF, "authorityKeyIdentifier=critical,issuer:always"),
        "refused",
    ),
    "critical place of the issuer": (
        ROOT,
        (),
        link(LEAF, "authorityInfoAccess=critical,OCSP;URI:http://example.com/"),
        "refused",
    ),
    "policies": (
        ROOT,
        (link(CA, "certificatePolicies=1.2.3.4"),),
        link(LEAF, "certificatePolicies=1.2.3.4"),
        "taken",
    ),
    "critical policies": (ROOT, (), link(LEAF, "certificatePolicies=critical,1.2.3.4"), Difference.PROCESSED),
    "policies must be named": (
        ROOT,
        (link(CA, "policyConstraints=critical,requireExplicitPolicy:0"),),
        SIGNER,
        Difference.PROCESSED,
    ),
    "any policy is forbidden": (
        ROOT,
        (link(CA, "inhibitAnyPolicy=critical,0"),),
        SIGNER,
        Difference.PROCESSED,
    ),
    "critical revocation lists": (
        ROOT,
        (),
        link(LEAF, "crlDistributionPoints=critical,URI:http://example.com/"),
        Difference.PROCESSED,
    ),
    "critical other names": (ROOT, (BETWEEN,), named("critical,DNS:a.example.com"), "taken"),
    "other names of odd kinds": (ROOT, (), named("dirName:name,RID:1.2.3.4"), "taken"),
    # the signer's purpose and its key's usage
    "purpose is not critical": (ROOT, (), purpose("timeStamping"), "refused"),
    "no purpose": (ROOT, (), link("keyUsage=critical,digitalSignature"), "refused"),
    "another purpose": (ROOT, (), purpose("critical,codeSigning"), "refused"),
    "any purpose": (ROOT, (), purpose("critical,anyExtendedKeyUsage"), "refused"),
    "another purpose beside": (ROOT, (), purpose("critical,timeStamping,codeSigning"), "refused"),
    "an unknown purpose beside": (ROOT, (), purpose("critical,timeStamping,1.2.3.4"), Difference.PURPOSE),
    "purpose of the authority": (
        ROOT,
        (link(CA, "extendedKeyUsage=critical,timeStamping"),),
        SIGNER,
        "taken",
    ),
    "no usage": (ROOT, (), link("extendedKeyUsage=critical,timeStamping"), "taken"),
    "usage is not critical": (ROOT, (), usage("digitalSignature"), "taken"),
    "usage for what cannot be denied": (ROOT, (), usage("critical,nonRepudiation"), "taken"),
    "usage for both signatures": (ROOT, (), usage("critical,digitalSignature,nonRepudiation"), "taken"),
    "usage for encryption": (ROOT, (), usage("critical,keyEncipherment"), "refused"),
    "usage for encryption beside": (ROOT, (), usage("critical,digitalSignature,keyEncipherment"), "refused"),
    "usage for data beside": (ROOT, (), usage("critical,digitalSignature,dataEncipherment"), "refused"),
    "usage for agreement beside": (ROOT, (), usage("critical,digitalSignature,keyAgreement"), "refused"),
    "usage for certificates beside": (ROOT, (), usage("critical,digitalSignature,keyCertSign"), "refused"),
    "usage for revocation beside": (ROOT, (), usage("digitalSignature,cRLSign"), "refused"),
    "signer is an authority": (ROOT, (), link(LEAF, "basicConstraints=critical,CA:TRUE"), "taken"),
    # authorities
    "not an authority between": (ROOT, (link("basicConstraints=critical,CA:FALSE"),), SIGNER, "refused"),
    "not an authority, but may sign": (
        ROOT,
        (link("basicConstraints=CA:FALSE\nkeyUsage=keyCertSign"),),
        SIGNER,
        "refused",
    ),
    "not an authority at the root": (link("basicConstraints=critical,CA:FALSE"), (), SIGNER, "refused"),
    "does not say whether it is an authority": (ROOT, (link("keyUsage=keyCertSign"),), SIGNER, "refused"),
    "root does not say whether it is an authority": (
        link("keyUsage=keyCertSign"),
        (),
        SIGNER,
        Difference.UNMARKED_ROOT,
    ),
    "root of version 1": (link(""), (), SIGNER, Difference.UNMARKED_ROOT),
    "says without weight that it is an authority": (
        ROOT,
        (link("basicConstraints=CA:TRUE\nkeyUsage=keyCertSign"),),
        SIGNER,
        "taken",
    ),
    "no usage of the authority": (ROOT, (link("basicConstraints=critical,CA:TRUE"),), SIGNER, "taken"),
    "may not sign certificates": (ROOT, (link(NO_SIGNING_OF_CERTIFICATES),), SIGNER, "refused"),
    "root may not sign certificates": (link(NO_SIGNING_OF_CERTIFICATES), (), SIGNER, "refused"),
    "path length is kept": (path_length(1), (path_length(0),), SIGNER, "taken"),
    "path length of the root is exceeded": (path_length(0), (BETWEEN,), SIGNER, "refused"),
    "path length between is exceeded": (ROOT, (path_length(0), BETWEEN), SIGNER, "refused"),
    "next key below a path length": (
        ROOT,
        (path_length(0), link(subject="/CN=between1")),
        SIGNER,
        Difference.SELF_ISSUED,
    ),
    # name constraints
    "names are permitted": (
        ROOT,
        (constrained("critical,permitted;DNS:example.com"),),
        named("DNS:a.example.com"),
        "taken",
    ),
    "names are not permitted": (
        ROOT,
        (constrained("critical,permitted;DNS:example.com"),),
        named("DNS:a.example.org"),
        "refused",
    ),
    "names are not permitted, says the root": (
        constrained("permitted;DNS:example.com"),
        (BETWEEN,),
        named("DNS:a.example.org"),
        "refused",
    ),
    "names of an authority are not permitted": (
        constrained("critical,permitted;DNS:example.com"),
        (link(CA, "subjectAltName=DNS:a.example.org"),),
        SIGNER,
        "refused",
    ),
    "names are excluded": (
        ROOT,
        (constrained("critical,excluded;DNS:example.com"),),
        named("DNS:a.example.com"),
        "refused",
    ),
    "names are not excluded": (
        ROOT,
        (constrained("critical,excluded;DNS:example.com"),),
        named("DNS:a.example.org"),
        "taken",
    ),
    "no names to constrain": (ROOT, (constrained("critical,permitted;DNS:example.com"),), SIGNER, "taken"),
    "addresses are not permitted": (
        ROOT,
        (constrained("critical,permitted;IP:10.0.0.0/255.0.0.0"),),
        named("IP:11.1.1.1"),
        "refused",
    ),
    "a subject that is not permitted": (
        ROOT,
        (constrained("critical,permitted;dirName:name"),),
        SIGNER,
        "refused",
    ),
    "a subject that is not permitted, without weight": (
        ROOT,
        (constrained("permitted;dirName:name"),),
        SIGNER,
        "refused",
    ),
    "a subject that is permitted": (
        ROOT,
        (constrained("critical,permitted;dirName:name"),),
        link(LEAF, subject="/O=Example/CN=leaf"),
        Difference.CONSTRAINED,
    ),
    "an address of mail in the subject": (
        ROOT,
        (constrained("critical,permitted;email:example.com"),),
        link(LEAF, subject="/CN=leaf/emailAddress=a@example.org"),
        "refused",
    ),
    "addresses of mail that are permitted": (
        ROOT,
        (constrained("critical,permitted;email:example.com"),),
        named("email:a@example.com"),
        Difference.CONSTRAINED,
    ),
    "addresses of the web that are permitted": (
        ROOT,
        (constrained("critical,permitted;URI:.example.com"),),
        named("URI:https://a.example.com/"),
        Difference.CONSTRAINED,
    ),
    "a common name that is no DNS name": (
        ROOT,
        (constrained("critical,permitted;DNS:example.com"),),
        link(LEAF, subject="/CN=tsa.example.org"),
        Difference.COMMON_NAME,
    ),
    # keys and hashes
    "P-384": (link(kind="EC384"), (link(kind="EC384"),), link(LEAF, kind="EC384"), "taken"),
    "P-521": (link(kind="EC521"), (link(kind="EC521"),), link(LEAF, kind="EC521"), "taken"),
    "RSA": (link(kind="RSA"), (link(kind="RSA"),), link(LEAF, kind="RSA"), "taken"),
    "RSASSA-PSS of an authority": (link(kind="RSA"), (), link(LEAF, options=PSS), "taken"),
    "short RSA of the signer": (ROOT, (), link(LEAF, kind="short RSA"), Difference.WEAK),
    "short RSA between": (ROOT, (link(kind="short RSA"),), SIGNER, Difference.WEAK),
    "short RSA of the root": (link(kind="short RSA"), (), SIGNER, Difference.WEAK),
    "SHA-1 under the signer's certificate": (ROOT, (), link(LEAF, options=SHA1), Difference.WEAK),
    "SHA-1 between": (ROOT, (link(options=SHA1),), SIGNER, Difference.WEAK),
    "SHA-1 under the root, which nobody asks": (link(options=SHA1), (), SIGNER, "taken"),
    "Ed25519 of an authority": (link(kind="ED25519"), (), SIGNER, Difference.WEAK),
}

# name: days of the root, between, of the signer; days until the token; verdict
TIMES: Final[dict[str, tuple[int, int, int, int, Verdict]]] = {
    "valid": (YEARS, YEARS, YEARS, 20, "taken"),
    "signer had expired": (YEARS, YEARS, 10, 20, "refused"),
    "authority had expired": (YEARS, 10, YEARS, 20, "refused"),
    "root had expired": (10, YEARS, YEARS, 20, "refused"),
    "not valid yet": (YEARS, YEARS, YEARS, -2, "refused"),
}


def compare(
    folder: Path, token: bytes, trusted: Certified, at: datetime, verdict: Verdict, *options: str | Path
) -> None:
    """That the two verdicts are as they should be. `-untrusted` of openssl is taken here, too."""
    known = [options[1]] if options[:1] == ("-untrusted",) else []
    theirs = openssl_verifies(folder, token, MESSAGE, trusted.certificate, at, *options)
    try:
        verify_timestamp(token, MESSAGE, [trusted.pem], [Path(each).read_text() for each in known])
        ours = True
    except NexusControlError as fault:
        assert fault.code is ErrorCode.SIGNATURE_INVALID
        ours = False
    taken = verdict.value[1] if isinstance(verdict, Difference) else verdict == "taken"
    assert (ours, theirs) == (taken, taken is not isinstance(verdict, Difference))


def soon() -> datetime:
    """Certificates are valid from the second in which they are made."""
    return SYSTEM_CLOCK.now() + timedelta(minutes=5)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.mark.sample(20)
@pytest.mark.parametrize("name", CHAINS)
def test_openssl_and_we_agree_on_a_chain_or_differ_for_a_reason_that_is_named(
    name: str, keys: Path, tmp_path: Path
) -> None:
    root, between, signer, verdict = CHAINS[name]
    trusted, *carried, authority = chain_in(tmp_path, keys, root, between, signer)
    at = soon()
    compare(tmp_path, token_in(tmp_path, authority, carried, MESSAGE, at), trusted, at, verdict)


@pytest.mark.parametrize("name", TIMES)
def test_openssl_and_we_agree_on_what_was_valid_at_the_time_of_the_token(
    name: str, keys: Path, tmp_path: Path
) -> None:
    root, between, signer, days, verdict = TIMES[name]
    chain = chain_in(tmp_path, keys, link(days=root), (link(days=between),), link(LEAF, days=signer))
    trusted, *carried, authority = chain
    at = soon() + timedelta(days=days)
    compare(tmp_path, token_in(tmp_path, authority, carried, MESSAGE, at), trusted, at, verdict)


Layout: TypeAlias = Callable[[Path, Path], tuple[Certified, list[Certified], Certified]]


def with_its_root(folder: Path, keys: Path) -> tuple[Certified, list[Certified], Certified]:
    root, between, signer = chain_in(folder, keys, ROOT, (BETWEEN,), SIGNER)
    return root, [root, between], signer


def among_strangers(folder: Path, keys: Path) -> tuple[Certified, list[Certified], Certified]:
    root, between, signer = chain_in(folder, keys, ROOT, (BETWEEN,), SIGNER)
    strangers = [certified_in(folder, keys, f"stranger{number}", BETWEEN) for number in range(3)]
    return root, [*strangers, between], signer


def under_a_namesake(folder: Path, keys: Path) -> tuple[Certified, list[Certified], Certified]:
    """An authority of the same name, with another key, is tried and does not fit."""
    root, between, signer = chain_in(folder, keys, ROOT, (BETWEEN,), SIGNER)
    namesake = certified_in(folder, keys, "namesake", link(subject="/CN=between1"), root)
    return root, [namesake, between], signer


def without_the_authority(folder: Path, keys: Path) -> tuple[Certified, list[Certified], Certified]:
    root, _between, signer = chain_in(folder, keys, ROOT, (BETWEEN,), SIGNER)
    return root, [], signer


def of_another_root(folder: Path, keys: Path) -> tuple[Certified, list[Certified], Certified]:
    """A root of the same name, with another key."""
    _root, between, signer = chain_in(folder, keys, ROOT, (BETWEEN,), SIGNER)
    return certified_in(folder, keys, "other", link(subject="/CN=root")), [between], signer


def of_a_root_that_the_token_brings(folder: Path, keys: Path) -> tuple[Certified, list[Certified], Certified]:
    root, between, signer = chain_in(folder, keys, ROOT, (BETWEEN,), SIGNER)
    return certified_in(folder, keys, "other", ROOT), [between, root], signer


def signed_by_itself(folder: Path, keys: Path) -> tuple[Certified, list[Certified], Certified]:
    signer = certified_in(folder, keys, "alone", SIGNER)
    return signer, [], signer


def signed_by_itself_and_not_trusted(
    folder: Path, keys: Path
) -> tuple[Certified, list[Certified], Certified]:
    return certified_in(folder, keys, "root", ROOT), [], certified_in(folder, keys, "alone", SIGNER)


def signer_is_trusted(folder: Path, keys: Path) -> tuple[Certified, list[Certified], Certified]:
    _root, between, signer = chain_in(folder, keys, ROOT, (BETWEEN,), SIGNER)
    return signer, [between], signer


def authority_is_trusted(folder: Path, keys: Path) -> tuple[Certified, list[Certified], Certified]:
    _root, between, signer = chain_in(folder, keys, ROOT, (BETWEEN,), SIGNER)
    return between, [between], signer


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("layout", "verdict"),
    [
        (with_its_root, "taken"),
        (among_strangers, "taken"),
        (under_a_namesake, "taken"),
        (without_the_authority, "refused"),
        (of_another_root, "refused"),
        (of_a_root_that_the_token_brings, "refused"),
        (signed_by_itself, "taken"),
        (signed_by_itself_and_not_trusted, "refused"),
        (signer_is_trusted, Difference.PINNED),
        (authority_is_trusted, Difference.PINNED),
    ],
)
def test_openssl_and_we_agree_on_what_a_token_carries(
    layout: Layout, verdict: Verdict, keys: Path, tmp_path: Path
) -> None:
    trusted, carried, signer = layout(tmp_path, keys)
    at = soon()
    token = token_in(tmp_path, signer, carried, MESSAGE, at)
    compare(tmp_path, token, trusted, at, verdict)
    if verdict is Difference.PINNED:
        assert openssl_verifies(tmp_path, token, MESSAGE, trusted.certificate, at, "-partial_chain")


def test_an_authority_that_the_verifier_brings_is_no_root(keys: Path, tmp_path: Path) -> None:
    root, between, signer = chain_in(tmp_path, keys, ROOT, (BETWEEN,), SIGNER)
    other = certified_in(tmp_path, keys, "other", ROOT)
    at = soon()
    token = token_in(tmp_path, signer, [], MESSAGE, at)
    compare(tmp_path, token, root, at, "taken", "-untrusted", between.certificate)
    compare(tmp_path, token, other, at, "refused", "-untrusted", between.certificate)


def together(folder: Path, certificates: Sequence[Certified]) -> Path:
    file = folder / "together.pem"
    file.write_text("".join(each.pem for each in certificates))
    return file


def test_the_order_of_the_authorities_is_nothing_to_either(keys: Path, tmp_path: Path) -> None:
    root, *between, signer = chain_in(tmp_path, keys, ROOT, (BETWEEN,) * 3, SIGNER)
    at = soon()
    token = token_in(tmp_path, signer, [], MESSAGE, at)
    for order in permutations(between):
        compare(tmp_path, token, root, at, "taken", "-untrusted", together(tmp_path, order))


def test_an_authority_with_certificates_of_two_roots_leads_to_the_one_that_is_trusted(
    keys: Path, tmp_path: Path
) -> None:
    other, first, signer = chain_in(tmp_path, keys, ROOT, (BETWEEN,), SIGNER)
    root = certified_in(tmp_path, keys, "trusted", ROOT)
    second = certified_in(tmp_path, keys, "second", link(subject="/CN=between1"), root, first.key)
    at = soon()
    token = token_in(tmp_path, signer, [], MESSAGE, at)
    orders: list[tuple[Sequence[Certified], Verdict]] = [
        ((second, first, other), "taken"),
        ((second, other, first), "taken"),
        ((first, other, second), Difference.SECOND_WAY),
    ]
    for order, verdict in orders:
        compare(tmp_path, token, root, at, verdict, "-untrusted", together(tmp_path, order))


def test_neither_takes_a_token_that_is_signed_with_another_padding(keys: Path, tmp_path: Path) -> None:
    root, signer = chain_in(tmp_path, keys, ROOT, (), link(LEAF, kind="RSA"))
    at = soon()
    plain = token_in(tmp_path, signer, [], MESSAGE, at)
    compare(tmp_path, plain, root, at, "taken")
    padded = token_in(tmp_path, signer, [], MESSAGE, at, ["-keyopt", "rsa_padding_mode:pss"])
    compare(tmp_path, padded, root, at, "refused")


@pytest.mark.parametrize("difference", Difference)
def test_each_difference_from_openssl_is_named_in_the_reference(difference: Difference) -> None:
    prose = " ".join((REPOSITORY / "docs/reference/signatures.md").read_text(encoding="utf-8").split())
    assert difference.value[0] in prose
