"""Where a login goes is what ``ssh -G`` says, also where no ssh can be asked."""

from __future__ import annotations

import os
import pwd
import random
import subprocess
from pathlib import Path

import pytest

from madrun.backends.ssh.settings import Asked, Target, jump_hosts, parse_settings, target_of
from madrun.backends.ssh.ssh_config import read_settings
from madrun.system.errors import ClusterError

HOSTS = ("node01", "Node01", "gpu-7.example.org", "10.0.0.7", "fd00::01", "x")
HOME = pwd.getpwuid(os.getuid()).pw_dir


def by_ssh(config: Path, name: str, asked: Asked) -> Target | None:
    """The target as ssh has it; None where ssh refuses the file."""
    words = ["-l", asked.user] if asked.user else []
    words += ["-p", str(asked.port)] if asked.port else []
    done = subprocess.run(
        ["ssh", "-G", "-F", config, *words, "--", name],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return None
    # ssh's own default list says nothing of the host, and the reader has no such list.
    settings = parse_settings(done.stdout)
    settings.pop("hostkeyalgorithms")
    try:
        return compared(target_of(name, asked, settings))
    except ClusterError:
        return None


def by_reader(config: Path, name: str, asked: Asked) -> Target | None:
    """The target as it is read here; None where the file is refused."""
    try:
        return compared(target_of(name, asked, read_settings(name, asked, (str(config),))))
    except ClusterError:
        return None


def compared(target: Target) -> Target:
    """A jump host may be spelled in two ways."""
    jumps = jump_hosts(target.proxy_jump) if target.proxy_jump else ()
    return target._replace(proxy_jump=repr(jumps))


FILES = {
    "empty": "",
    "comments": "# Port 1\n   #Port 2\n\n\t\nPort 2209 # rack 7\nUser al#x\n",
    "equals signs": "Port=2222\nUser = bob\nHostName =%h.example\n",
    "tabs": "\tHost\tnode01\n\t\tPort\t2201\t\n",
    "capitals": "HOST node01\n pOrT 2201\nhOSTname N.Example\n",
    "host patterns": "Host node* !node02\n Port 1\nHost gpu-?.*\n Port 2\nHost *\n Port 3\n",
    "a negation first": "Host !node01 *\n Port 1\n",
    "only a negation": "Host !node01\n Port 1\n",
    "several patterns": "Host a b node01 c\n User u1\nHost *.org fd00::* 10.*\n User u2\n",
    "the first counts": "User a\nUser b\nHost *\n User c\n",
    "brackets are no class": "Host node0[1]\n Port 1\nHost node0?\n Port 2\n",
    "quotes": 'User "a b"\nIdentityFile "~/a b"\nHostName "n.example"\n',
    "single quotes": "User 'a b'\nHostKeyAlias 'r\\'7'\n",
    "escapes": 'User a\\ b\nHostKeyAlias a\\\\b\nIdentityFile "~/a\\"b"\n',
    "an open quote": 'User "a\n',
    "an open quote in a command": "ProxyCommand echo it's\n",
    "no argument": "Port\n",
    "empty argument": 'User ""\n',
    "two arguments": "Port 22 23\n",
    "a bad port": "Port abc\n",
    "port 0": "Port 0\n",
    "a port that is too large": "Port 65536\n",
    "a bad port for another host": "Host other\n Port abc\n",
    "an unknown keyword": "Prot 22\n",
    "bad flags": "IdentitiesOnly maybe\n",
    "flags": "IdentitiesOnly yes\nHashKnownHosts no\nCheckHostIP YES\n",
    "checks": "StrictHostKeyChecking accept-new\n",
    "checks off": "StrictHostKeyChecking off\n",
    "checks no": "StrictHostKeyChecking NO\n",
    "known hosts": "UserKnownHostsFile ~/a ~/b /c\nGlobalKnownHostsFile /d /e\n",
    "known hosts, quotes": 'UserKnownHostsFile "/a b" "~/c d"\n',
    "known hosts, none": "UserKnownHostsFile none\nGlobalKnownHostsFile none\n",
    "known hosts, none and one": "UserKnownHostsFile none /x\n",
    "known hosts, twice": "UserKnownHostsFile /a\nUserKnownHostsFile /b\n",
    "known hosts, tokens": "UserKnownHostsFile %d/.ssh/known-%h-%p-%r\n",
    "known hosts, environment": "UserKnownHostsFile ${HOME}/known\n",
    "keys": "IdentityFile ~/.ssh/a\nIdentityFile /b\nHost node01\n IdentityFile c\n",
    "keys, tokens": "IdentityFile ~/%h/%r\nHost *\n IdentityFile %d/%p%%\n",
    "keys, none": "IdentityFile none\n",
    "keys twice": "IdentityFile /a\nIdentityFile /a\n",
    "agents": "IdentityAgent ~/sock\n",
    "no agent": "IdentityAgent none\n",
    "an alias": "HostKeyAlias Rack7\n",
    "families": "AddressFamily inet6\n",
    "a host name": "Host node01\n HostName 10.1.2.3\nHost x\n HostName FD00::0:5\n",
    "a host name with tokens": "HostName %h.cluster\n",
    "a proxy command": "Port 2222\nUser bob\nProxyCommand nc -x %n %h %p %r # all\n",
    "no proxy command": "ProxyCommand none\n",
    "a proxy command, then a jump": "ProxyCommand nc %h %p\nProxyJump gate\n",
    "a jump, then a proxy command": "ProxyJump gate\nProxyCommand nc %h %p\n",
    "jumps": "ProxyJump al@one:2200,[fd00::9]:22,three # rack\n",
    "no jump": "Host node01\n ProxyJump none\nHost *\n ProxyJump gate\n",
    "a jump as an address": "ProxyJump ssh://al@gate:2200\n",
    "a bad jump": "ProxyJump gate:x\n",
    "an include": "Include part\nPort 3\n",
    "an include with a tab": "Include\tpart\n",
    "an include in a block": "Host node01\n Include part\n User u\nHost *\n Port 4\n",
    "an include in a block for others": "Host other\n Include part\n Port 5\n",
    "options after an include": "Include blocks\nPort 5\nUser u\n",
    "several includes": "Include part blocks\nInclude nothing*\n",
    "included patterns": "Include p*\n",
    "an include in a circle": "Include circle\n",
    "match all": "Match all\n Port 6\n",
    "match another host": "Match host other\n ProxyJump gate\n",
    "match a user": "Match user bob\n Port 7\n",
    "match by a program": "Match exec false\n ProxyJump gate\n",
    "match something unknown": "Match moon full\n ProxyJump gate\n",
    "canonical names": "CanonicalizeHostname yes\nCanonicalDomains example.org\n",
    "passed over": "SendEnv LANG LC_*\nGSSAPIAuthentication yes\nServerAliveInterval 5\n",
    "windows line ends": "Port 2222\r\nUser bob\r\n",
    "form feed": "Port 2222 \f\n",
    "blanks before equals": "Port   =   2222\n",
    "a revocation list": "RevokedHostKeys ~/revoked\n",
    "a command for host keys": "KnownHostsCommand /bin/keys %H\n",
}
# Parts that ssh understands, and the reader refuses: nobody is let in who should not be.
REFUSED = ("match", "canonical", "known hosts, tokens", "known hosts, environment")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which ``Include`` looks; ssh -F looks in ~/.ssh, so the paths are full ones."""
    (tmp_path / "part").write_text("Port 1022\nHost x\n User inner\n")
    (tmp_path / "blocks").write_text("Host node01\n HostName inner.example\nHost none-such\n")
    (tmp_path / "circle").write_text(f"Include {tmp_path}/circle\n")
    return tmp_path


def written(folder: Path, text: str) -> Path:
    """A configuration file; what it includes is in the folder."""
    lines = []
    for line in text.split("\n"):
        words = line.split()
        if words and words[0] == "Include":
            line = line.replace(" ".join(words[1:]), " ".join(f"{folder}/{w}" for w in words[1:]))
        lines.append(line)
    path = folder / "config"
    path.write_bytes("\n".join(lines).encode())
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_login_goes_where_ssh_goes(folder: Path, name: str) -> None:
    config = written(folder, FILES[name])
    for host in HOSTS:
        for asked in (Asked(), Asked("bob", 2022)):
            expected, found = by_ssh(config, host, asked), by_reader(config, host, asked)
            if not name.startswith(REFUSED):
                assert found == expected, (host, asked)
            else:
                assert found in (None, expected), (host, asked)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_so_it_does_for_random_files(folder: Path, seed: int) -> None:
    config = written(folder, random_config(random.Random(seed)))
    for host in random.Random(seed).sample(HOSTS, 3):
        expected, found = by_ssh(config, host, Asked()), by_reader(config, host, Asked())
        assert found == expected, f"{host}\n{config.read_text()}"


def random_config(chance: random.Random) -> str:
    """Lines out of the pieces of all files above, quoted and spaced at random."""
    sources = [text for name, text in FILES.items() if not name.startswith((*REFUSED, "an open"))]
    pieces = [line.strip(" \r\f") for text in sources for line in text.split("\n") if line.strip()]
    wrong = ("Port abc", "Port 0", "Port 65536", "Prot", "Port 22 23", "IdentitiesOnly maybe",
             "ProxyJump gate:x", 'User ""', "Include circle")  # fmt: skip
    lines = []
    for _ in range(chance.randrange(1, 12)):
        line = chance.choice(pieces)
        if line == "Port" or (line.startswith(wrong) and chance.random() < 0.9):
            continue
        if chance.random() < 0.3:
            line = chance.choice(("Host *", "Host node*", "Host !x *", "Host x", "Host gpu* 10*"))
        keyword, blank, rest = line.partition(" ")
        if blank and not line.startswith("Include") and chance.random() < 0.2:
            blank = chance.choice(("\t", "=", " = ", "  "))
        lines.append(chance.choice(("", "", " ", "\t")) + keyword + blank + rest)
    return "\n".join(lines) + chance.choice(("", "\n", "\n\n"))


def test_what_is_not_understood_is_named_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("User al\nMatch exec true\n  Port 1\n")
    with pytest.raises(ClusterError, match=f"{config} line 2: match: not understood here"):
        read_settings("node01", Asked(), (str(config),))
