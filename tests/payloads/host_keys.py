"""Ask both, ssh and madrun's login, whether a host's key is accepted; one JSON object a line.

Reads a list of cases, each with the text of its files and the options, from the file named first.
Nobody is let in: whoever accepts the host's key fails later, by having no key to offer.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from madrun.backends.ssh.login import Logins
from madrun.backends.ssh.settings import Asked, target_of
from madrun.options.request import Ssh
from madrun.system.errors import ClusterError

NO_KEYS = {"identityfile": ["none"], "identityagent": ["none"], "identitiesonly": ["yes"]}


def of_ssh(case: dict[str, Any], user: str, system: str) -> bool:
    options = {
        "UserKnownHostsFile": user,
        "GlobalKnownHostsFile": system,
        "StrictHostKeyChecking": "accept-new" if case["accept_new"] else "yes",
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "IdentityFile": "none",
        **case["options"],
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    done = subprocess.run(
        ["ssh", "-F", "none", *words, "-p", str(case["port"]), case["host"], "true"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 255, done
    accepted = "Permission denied" in done.stderr
    assert accepted or "Host key verification failed" in done.stderr, done.stderr
    return accepted


def of_madrun(case: dict[str, Any], user: str, system: str) -> bool:
    logins = Logins(Ssh(connect_timeout=30.0, accept_new=case["accept_new"]))
    settings = {name.lower(): [value] for name, value in case["options"].items()} | NO_KEYS
    settings |= {
        "hostname": [case["host"].lower()],
        "port": [str(case["port"])],
        "userknownhostsfile": [user],
        "globalknownhostsfile": [system],
        "stricthostkeychecking": ["accept-new" if case["accept_new"] else "true"],
    }
    target = target_of(case["host"], Asked(), settings)
    reason = ""
    try:
        logins._connect((target,))
    except ClusterError as error:
        reason = str(error)
    accepted = "no key to offer" in reason
    assert accepted or "host key" in reason, reason
    return accepted


def recorded(path: str, before: str) -> str:
    return Path(path).read_text().removeprefix(before) if Path(path).exists() else ""


def main() -> None:
    for case in json.loads(Path(sys.argv[1]).read_text()):
        answers = []
        for ask in (of_ssh, of_madrun):
            with tempfile.TemporaryDirectory() as folder:
                user, system = f"{folder}/user", f"{folder}/system"
                Path(user).write_text(case["user"])
                Path(system).write_text(case["system"])
                accepted = ask(case, user, system)
                answers.append([accepted, recorded(user, case["user"])])
        print(
            json.dumps({"name": case["name"], "ssh": answers[0], "madrun": answers[1]}), flush=True
        )


if __name__ == "__main__":
    main()
