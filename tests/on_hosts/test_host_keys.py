"""Who is let in by ssh is let in by madrun, and nobody else: one sshd, many known_hosts files."""

from __future__ import annotations

import base64
import hmac
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from support.cluster import REPOSITORY, Cluster
from support.programs import PATIENCE

PAYLOAD = REPOSITORY / "tests" / "payloads" / "host_keys.py"
HOST, PORT = "node01", 2222


class Keys(NamedTuple):
    """Public keys as known_hosts has them: type and base64."""

    right: str
    rsa: str
    wrong: str
    authority: str
    other_authority: str
    address: str


@pytest.fixture(scope="module")
def keys(cluster: Cluster) -> Iterator[Keys]:
    """An sshd on one host, on port 22 and on 2222, that has two keys and a certificate."""
    folder = cluster.base / "host-keys"
    folder.mkdir()
    for name, kind in [
        ("right", "ed25519"), ("rsa", "rsa"), ("wrong", "ed25519"), ("ca", "ecdsa"),
        ("other-ca", "ed25519"),
    ]:  # fmt: skip
        words = ["-q", "-t", kind, "-N", "", "-C", "", "-f", str(folder / name)]
        subprocess.run(["ssh-keygen", *words], check=True)
    words = ["-s", str(folder / "ca"), "-I", "id", "-h", "-n", f"{HOST},rack7"]
    subprocess.run(["ssh-keygen", "-q", *words, str(folder / "right.pub")], check=True)
    config = folder / "sshd_config"
    config.write_text(
        f"Port {PORT}\nHostKey {folder}/right\nHostKey {folder}/rsa\n"
        f"HostCertificate {folder}/right-cert.pub\nPidFile none\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\n"
    )
    daemon = cluster.popen(HOST, ["/usr/sbin/sshd", "-D", "-e", "-f", config])
    assert daemon.stderr is not None
    assert any("Server listening" in line for line in daemon.stderr)
    names = ("right", "rsa", "wrong", "ca", "other-ca")
    texts = [" ".join((folder / f"{name}.pub").read_text().split()[:2]) for name in names]
    yield Keys._make([*texts, cluster.state.hosts[HOST].ip])
    cluster.signal(daemon, 15)
    daemon.communicate(timeout=PATIENCE)


def hashed(name: str) -> str:
    """As HashKnownHosts writes it."""
    salt = bytes(range(20))
    parts = salt, hmac.digest(salt, name.encode(), "sha1")
    return "|1|" + "|".join(base64.b64encode(part).decode() for part in parts)


def cases(keys: Keys) -> dict[str, dict[str, Any]]:
    """What the files say; by default the user's, on port 2222, without --ssh-accept-new."""
    name = f"[{HOST}]:{PORT}"
    right, wrong, authority = keys.right, keys.wrong, keys.authority
    tabs = right.replace(" ", "\t")
    return {
        "the right key": {"user": f"{name} {right}\n"},
        "nothing is known": {"user": ""},
        "another key": {"user": f"{name} {wrong}\n"},
        "another key of another type": {"user": f"{name} {authority}\n"},
        "the second key of the host": {"user": f"{name} {keys.rsa}\n"},
        "one wrong and one right": {"user": f"{name} {wrong}\n{name} {right}\n"},
        "known without a port": {"user": f"{HOST} {right}\n"},
        "another one without a port": {"user": f"{HOST} {wrong}\n"},
        "right without, wrong with a port": {"user": f"{HOST} {right}\n{name} {wrong}\n"},
        "a wildcard": {"user": f"[node*]:22?2 {right}\n"},
        "a wildcard with another key": {"user": f"[node*]:* {wrong}\n"},
        "a wildcard for all": {"user": f"* {right}\n"},
        "a negated name": {"user": f"*,![node01]:2222 {right}\n"},
        "a negation of others": {"user": f"![node02]:*,[node*]:2222 {right}\n"},
        "only a negation": {"user": f"!{name} {right}\n"},
        "a negation of others with another key": {"user": f"![node02]:*,[node*]:2222 {wrong}\n"},
        "brackets are no class of characters": {"user": f"[node0[1]]:2222 {right}\n"},
        "hashed": {"user": f"{hashed(name)} {right}\n"},
        "hashed, another key": {"user": f"{hashed(name)} {wrong}\n"},
        "hashed, another name": {"user": f"{hashed('node02')} {wrong}\n"},
        "a broken hash": {"user": f"|1|xx|yy {right}\n|2|a {right}\n"},
        "in capitals": {"user": f"[NODE01]:{PORT} {right}\n"},
        "asked in capitals": {"user": f"{name} {right}\n", "host": "NODE01"},
        "several names": {"user": f"a,b,{name},c {right}\n"},
        "the address alone": {"user": f"[{keys.address}]:{PORT} {right}\n"},
        "by address": {"user": f"[{keys.address}]:{PORT} {right}\n", "host": keys.address},
        "the system's file": {"system": f"{name} {right}\n"},
        "the system's file, another key": {"system": f"{name} {wrong}\n"},
        "two files that differ": {"user": f"{name} {right}\n", "system": f"{name} {wrong}\n"},
        "tabs, blanks and comments": {"user": f"# a\n\n \t{name}\t{tabs}  c\n"},
        "no line end": {"user": f"{name} {right}"},
        "no line end, another host": {"user": f"other {right}"},
        "a damaged key": {"user": f"{name} {right[:-9]}\n"},
        "another type is said": {"user": f"{name} ssh-rsa {right.split()[1]}\n"},
        "no key": {"user": f"{name}\n{name} \n{name} ssh-ed25519\n{name} # x\n"},
        "an unknown marker": {"user": f"@trusted {name} {right}\n"},
        "two markers": {"user": f"@revoked @cert-authority {name} {right}\n"},
        "revoked": {"user": f"@revoked {name} {right}\n"},
        "revoked for all": {"user": f"{name} {right}\n", "system": f"@revoked * {right}\n"},
        "another key is revoked": {"user": f"{name} {right}\n@revoked * {wrong}\n"},
        "the second key is revoked": {"user": f"{name} {keys.rsa}\n@revoked * {keys.rsa}\n"},
        "revoked without a port": {"user": f"@revoked {HOST} {right}\n"},
        "an authority": {"user": f"@cert-authority [node*]:2222 {authority}\n"},
        "an authority for all": {"user": f"@cert-authority * {authority}\n"},
        "an authority without a port": {"user": f"@cert-authority {HOST} {authority}\n"},
        "another authority": {"user": f"@cert-authority * {keys.other_authority}\n"},
        "an authority for others": {"user": f"@cert-authority *.org {authority}\n"},
        "another authority, the right key": {
            "user": f"@cert-authority * {keys.other_authority}\n{name} {right}\n"
        },
        "the authority, another key": {"user": f"@cert-authority * {authority}\n{name} {wrong}\n"},
        "the authority is revoked": {
            "user": f"@cert-authority * {authority}\n", "system": f"@revoked * {authority}\n"
        },
        "the certified key is revoked": {
            "user": f"@cert-authority * {authority}\n@revoked * {right}\n"
        },
        "the authority as a key of the host": {"user": f"{name} {authority}\n"},
        "the right key as an authority": {"user": f"@cert-authority * {right}\n"},
        "a certificate for other names": {
            "user": f"@cert-authority * {authority}\n", "host": keys.address
        },
        "a certificate for an alias": {
            "user": f"@cert-authority rack7 {authority}\n",
            "options": {"HostKeyAlias": "rack7"},
        },
        "an alias": {"user": f"Rack7 {right}\n", "options": {"HostKeyAlias": "rack7"}},
        "an alias, known by the name": {
            "user": f"{name} {right}\n", "options": {"HostKeyAlias": "rack7"}
        },
        "another key of the address": {
            "user": f"{name} {right}\n[{keys.address}]:{PORT} {wrong}\n",
            "options": {"CheckHostIP": "yes"},
        },
        "hashed names are written": {"user": "", "options": {"HashKnownHosts": "yes"}},
        "another port": {"user": f"{name} {right}\n", "port": 22},
    }  # fmt: skip


def answers(cluster: Cluster, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What ssh and madrun say of each case."""
    path = cluster.share / "cases.json"
    defaults = {"user": "", "system": "", "port": PORT, "host": HOST, "options": {}}
    path.write_text(json.dumps([{**defaults, **case} for case in asked]))
    done = cluster.run("head", [sys.executable, PAYLOAD, path], timeout=500)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def disagreements(found: list[dict[str, Any]]) -> list[str]:
    """Cases in which one lets in whom the other does not, or writes another line."""
    return [
        f"{each['name']}: ssh {each['ssh']}, madrun {each['madrun']}"
        for each in found
        if each["ssh"][0] != each["madrun"][0]
        # Before 9.3 ssh did not end another line that had no end.
        or (each["ssh"][1] != each["madrun"][1].lstrip("\n") and "|1|" not in each["ssh"][1])
    ]


@pytest.mark.parametrize("accept_new", [False, True], ids=["strict", "accept-new"])
def test_ssh_and_madrun_let_in_the_same_hosts(
    cluster: Cluster, keys: Keys, accept_new: bool
) -> None:
    asked = [{"name": name, "accept_new": accept_new, **case} for name, case in cases(keys).items()]
    found = answers(cluster, asked)
    assert len(found) == len(asked)
    assert not disagreements(found), "\n".join(disagreements(found))
    # Both answers occur, so that the comparison says something.
    assert 10 < sum(each["ssh"][0] for each in found) < len(found) - 10


def test_so_do_they_for_random_files(cluster: Cluster, keys: Keys) -> None:
    seed = 7
    chance = random.Random(seed)
    names = [
        f"[{HOST}]:{PORT}", HOST, f"[node*]:{PORT}", "*", "!*", f"![{HOST}]:*", "[node0?]:2222",
        "node02", hashed(f"[{HOST}]:{PORT}"), hashed(HOST), f"[{HOST.upper()}]:{PORT}", "",
    ]  # fmt: skip
    markers = ["", "", "", "", "@revoked ", "@cert-authority ", "@revoked\t", "@x "]

    def line() -> str:
        hosts = ",".join(chance.choices(names, k=chance.choice((1, 1, 2, 3))))
        if "|1|" in hosts:
            hosts = hashed(HOST if chance.random() < 0.3 else f"[{HOST}]:{PORT}")
        key = chance.choice([*keys[:5], keys.right, keys.right, "ssh-ed25519 AAAA"])
        return f"{chance.choice(markers)}{hosts} {key}\n"

    asked = [
        {
            "name": f"seed {seed}, case {number}",
            "accept_new": chance.random() < 0.5,
            "user": "".join(line() for _ in range(chance.randrange(4))),
            "system": "".join(line() for _ in range(chance.randrange(2))),
        }
        for number in range(60)
    ]
    found = disagreements(answers(cluster, asked))
    assert not found, "\n".join(found)


def test_a_host_key_that_is_written_down_is_hashed_where_ssh_would(
    cluster: Cluster, keys: Keys
) -> None:
    options = {"HashKnownHosts": "yes"}
    found = answers(cluster, [{"name": "hashed", "accept_new": True, "options": options}])[0]
    line = found["madrun"][1]
    assert line.startswith("|1|")
    known = cluster.share / "hashed-known-hosts"
    known.write_text(line)
    words = ["ssh-keygen", "-F", f"[{HOST}]:{PORT}", "-f", str(known)]
    assert keys.right in cluster.run("head", words).stdout
    known.unlink()
