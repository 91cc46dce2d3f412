"""ssh's configuration files where no ``ssh`` can be asked: read as ssh reads them, or refused.

What is here reads as OpenSSH's readconf.c does: ``Host`` and ``Include``, quotes, comments, the
first value counts. What depends on more (``Match``, canonical names) is refused with its line: a
login that ssh would not make must not be made.
"""

from __future__ import annotations

import glob
import os
import re
import socket
from collections.abc import Sequence
from typing import NoReturn

from madrun.backends.ssh.patterns import matches
from madrun.backends.ssh.settings import DEFAULTS, Asked, expand, home, jump_hosts
from madrun.system.errors import ClusterError

_Settings = dict[str, list[str]]

_DEPTH = 16  # as in ssh_config(5)
_LINE = re.compile(r"[ \t\r\n]*([^ \t\r\n\"=]+)[ \t\r\n]*=?[ \t\r\n]*(.*)", re.DOTALL)
_FLAGS = ("yes", "no", "true", "false")
_HOST_KEY_CHECKS = (*_FLAGS, "off", "ask", "accept-new")
_FAMILIES = ("any", "inet", "inet6")
# One word each; where its values are limited, these.
_WORDS: dict[str, tuple[str, ...]] = {
    "hostname": (), "port": (), "user": (), "hostkeyalias": (), "identityagent": (),
    "identitiesonly": _FLAGS, "checkhostip": _FLAGS, "hashknownhosts": _FLAGS,
    "stricthostkeychecking": _HOST_KEY_CHECKS, "addressfamily": _FAMILIES,
    "revokedhostkeys": (),
}  # fmt: skip
_LISTS = ("userknownhostsfile", "globalknownhostsfile")
_LINES = ("proxycommand", "proxyjump", "knownhostscommand")  # the rest of the line as it is
# What does not bear on where, as whom and to which host key a login goes.
_PASSED_OVER = """
addkeystoagent batchmode certificatefile ciphers clearallforwardings compression
connectionattempts connecttimeout controlmaster controlpath controlpersist dynamicforward
enableescapecommandline escapechar exitonforwardfailure fingerprinthash
forkafterauthentication forwardagent forwardx11 forwardx11timeout forwardx11trusted
gatewayports globalknownhostsfile2 gssapiauthentication gssapidelegatecredentials
hostbasedacceptedalgorithms hostbasedauthentication ipqos kbdinteractiveauthentication
kexalgorithms localcommand localforward loglevel logverbose macs
nohostauthenticationforlocalhost numberofpasswordprompts passwordauthentication
permitlocalcommand permitremoteopen preferredauthentications protocol proxyusefdpass
pubkeyacceptedalgorithms pubkeyauthentication rekeylimit remotecommand remoteforward
requesttty requiredrsasize sendenv serveralivecountmax serveraliveinterval sessiontype
setenv stdinnull streamlocalbindmask streamlocalbindunlink syslogfacility tcpkeepalive
tunnel tunneldevice updatehostkeys verifyhostkeydns visualhostkey xauthlocation
""".split()  # noqa: SIM905  # a list of words


def read_settings(name: str, asked: Asked, files: Sequence[str]) -> _Settings:
    """What the user's file and then the system's say of a host, as ``ssh -G`` would.

    Raises ClusterError, with file and line, for what is wrong and for what is not understood.
    """
    reader = _Reader(name)
    for path, folder in zip(files, (os.path.join(home(), ".ssh"), "/etc/ssh"), strict=False):
        reader.read(path, folder, reader.settings)
    settings = reader.settings
    tokens = {"%": "%", "h": name}
    hostname = expand(settings.get("hostname", [name])[0], tokens, environment=False)
    settings["hostname"] = [_canonical(hostname)]
    for keyword in _LISTS:
        default = DEFAULTS[keyword][0].split(" ")
        settings[keyword] = [" ".join(settings.get(keyword, default))]
    if asked.user:
        settings["user"] = [asked.user]
    if asked.port:
        settings["port"] = [str(asked.port)]
    return settings


class _Reader:
    """Collects what the files say of one host.

    What they say of others goes into a dict that nobody reads: it may be wrong as well.
    """

    def __init__(self, name: str) -> None:
        self.settings: _Settings = {}
        self._name = name

    def read(self, path: str, folder: str, into: _Settings, depth: int = 0) -> None:
        """One file; what it includes is looked for in ``folder``."""
        if depth > _DEPTH:
            raise ClusterError(f"ssh_config: {path}: too many levels of Include")
        try:
            with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                lines = file.read().split("\n")
        except FileNotFoundError:
            return
        except OSError as error:
            raise ClusterError(f"ssh_config: {path}: {error.strerror}") from None
        outer = into
        for number, line in enumerate(lines, 1):
            where = f"{path} line {number}"
            found = _LINE.fullmatch(line.rstrip(" \t\r\n\f"))
            if found is None:
                if line.strip(" \t\r\n\f"):
                    _refuse(where, "no keyword")
                continue
            keyword, rest = found[1].lower(), found[2]
            if keyword.startswith("#"):
                continue
            words = split_words(rest, where)
            if keyword == "host":
                into = outer if _is_for(self._name, _some(words, where)) else {}
            elif keyword == "include":
                self._include(_some(words, where), folder, into, (where, depth))
            else:
                _take(keyword, rest, words, into, where)

    def _include(
        self, paths: Sequence[str], folder: str, into: _Settings, at: tuple[str, int]
    ) -> None:
        where, depth = at
        for path in paths:
            if set("%${}") & set(path):
                _refuse(where, f"Include {path}")
            if path.startswith("~"):
                if not path.startswith("~/") or folder == "/etc/ssh":
                    _refuse(where, f"Include {path}")
                path = home() + path[1:]
            for each in sorted(glob.glob(os.path.join(folder, path), include_hidden=False)):
                self.read(each, folder, into, depth + 1)


def _take(keyword: str, rest: str, words: Sequence[str], into: _Settings, where: str) -> None:
    if keyword in _PASSED_OVER:
        return
    if keyword in _LINES:
        value = _jump(rest, where) if keyword == "proxyjump" else rest.lstrip(" \t\r\n=")
        # Of ProxyJump and ProxyCommand the one that comes first counts.
        either = {"proxyjump", "proxycommand"} if keyword.startswith("proxy") else {keyword}
        if not either & into.keys():
            into[keyword] = [value]
    elif keyword in _LISTS:
        if len(_some(words, where)) > 1 and "none" in [word.lower() for word in words]:
            _refuse(where, "none among others")
        into.setdefault(keyword, list(words))
    elif keyword == "identityfile":
        if _one(words, where) not in into.setdefault(keyword, []):
            into[keyword].append(words[0])
    elif keyword in _WORDS:
        into.setdefault(keyword, [_checked(keyword, _one(words, where), where)])
    else:
        _refuse(where, keyword)


def split_words(text: str, where: str) -> list[str]:
    """The words of a line's rest, quotes and escapes resolved, up to a comment.

    >>> split_words('a "b c" d\\\\ e # f', "")
    ['a', 'b c', 'd e']
    """
    words: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in " \t":
            at += 1
            continue
        if text[at] == "#":
            break
        word, at = _word(text, at, where)
        words.append(word)
    return words


def _word(text: str, at: int, where: str) -> tuple[str, int]:
    word, quote = "", ""
    while at < len(text):
        character, after = text[at], text[at + 1 : at + 2]
        if character == "\\" and after and (after in "'\"\\" or (not quote and after == " ")):
            word, at = word + after, at + 1
        elif not quote and character in " \t":
            break
        elif not quote and character in "\"'":
            quote = character
        elif character == quote:
            quote = ""
        else:
            word += character
        at += 1
    if quote:
        _refuse(where, "a quote that is not closed")
    return word, at


def _is_for(name: str, patterns: Sequence[str]) -> bool:
    found = False
    for pattern in patterns:
        if matches(name, pattern.removeprefix("!")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _some(words: Sequence[str], where: str) -> Sequence[str]:
    if not words or "" in words:
        _refuse(where, "no argument")
    return words


def _one(words: Sequence[str], where: str) -> str:
    if len(words) != 1 or not words[0]:
        _refuse(where, "not one argument")
    return words[0]


def _checked(keyword: str, value: str, where: str) -> str:
    allowed = _WORDS[keyword]
    if allowed and value.lower() not in allowed:
        _refuse(where, f"{keyword} {value}")
    if keyword == "port" and not (value.isascii() and value.isdecimal() and 0 < int(value) < 65536):
        _refuse(where, f"{value!r} is not a port")
    return value.lower() if allowed or keyword == "hostkeyalias" else value


def _jump(rest: str, where: str) -> str:
    value = rest.lstrip(" \t\r\n=").partition("#")[0].rstrip(" \t\r\n")
    if value.lower() != "none":
        jump_hosts(value)  # it raises for what is no host
    return value


def _canonical(hostname: str) -> str:
    """In lower case; an address as the resolver writes it."""
    try:
        found = socket.getaddrinfo(hostname, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return hostname.lower()
    return str(found[0][4][0])


def _refuse(where: str, what: str) -> NoReturn:
    raise ClusterError(
        f"ssh_config: {where}: {what}: not understood here (with the program ssh installed, "
        "ssh itself is asked)"
    )
