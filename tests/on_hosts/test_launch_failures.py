"""One host that cannot take part: nobody runs, exit 125, and every host has its own reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.cluster import BIN, Cluster
from support.jobs import WORKER, of_the_job


@contextmanager
def replaced(path: Path, text: str) -> Iterator[None]:
    """A file with another content for a while; kept in place, for it is bound into the hosts."""
    before = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


def reasons(stderr: str) -> dict[str, str]:
    """The reason of each host in a report."""
    lines = [line.split(None, 1) for line in stderr.splitlines() if line.startswith("    ")]
    return {line[0]: line[1] for line in lines}


def test_each_host_has_its_own_reason(breakable: Cluster) -> None:
    breakable.kill("node03")
    known = breakable.base / "ssh" / "known_hosts"
    lines = known.read_text().splitlines(keepends=True)
    wrong = next(line for line in lines if line.startswith("head"))
    changed = "".join(
        line if not line.startswith("node02") else "node02" + wrong[wrong.index(" ") :]
        for line in lines
        if not line.startswith("node04")
    )
    with replaced(known, changed):
        done = breakable.madrun(
            *("--hosts", "node01,node02,node03,node04,nowhere", "--connect-timeout", "2"),
            *("--no-python", "touch", breakable.share / "ran"),
        )
    assert done.returncode == 125
    found = reasons(done.stderr)
    assert sorted(found) == ["node02", "node03", "node04", "nowhere"]
    assert found["node02"].startswith("host key changed")
    assert found["node03"].startswith("unreachable: ")
    assert found["node04"].startswith("host key unknown")
    assert "--ssh-accept-new" in found["node04"]
    assert found["nowhere"] == "unreachable: the name nowhere cannot be resolved"
    assert not (breakable.share / "ran").exists()
    assert of_the_job(breakable) == []


def test_refused_authentication(cluster: Cluster) -> None:
    with replaced(cluster.base / "ssh" / "authorized_keys", ""):
        done = cluster.madrun("--hosts", "node01,head", WORKER)
    assert done.returncode == 125
    assert reasons(done.stderr)["node01"].startswith("authentication refused for user root")
    assert list(reasons(done.stderr)) == ["node01"]


def test_a_new_key_can_be_accepted(cluster: Cluster) -> None:
    known = cluster.base / "ssh" / "known_hosts"
    lines = known.read_text().splitlines(keepends=True)
    without = "".join(line for line in lines if not line.startswith("node01"))
    with replaced(known, without):
        done = cluster.madrun("--hosts", "node01", "--ssh-accept-new", "--no-python", "true")
        assert done.returncode == 0, done.stderr
        # By name or hashed, as the system's ssh_config says.
        words = ["ssh-keygen", "-F", "node01", "-f", str(known)]
        assert " ssh-ed25519 " in cluster.run("head", words).stdout


@pytest.mark.parametrize(
    ("python", "reason"),
    [
        ("/no/such/python", "interpreter /no/such/python is not found there"),
        ("/usr/bin/python3", "madrun is not installed for /usr/bin/python3 there"),
    ],
)
def test_interpreters_that_will_not_do(cluster: Cluster, python: str, reason: str) -> None:
    done = cluster.madrun("--hosts", "node01,head", "--remote-python", python, WORKER)
    assert done.returncode == 125
    found = reasons(done.stderr)
    assert found["node01"].startswith(reason)
    assert sorted(found) == ["head", "node01"]


def test_another_version(cluster: Cluster) -> None:
    fake = cluster.share / "old-python"
    fake.write_text(
        "#!/bin/sh\nprintf '\\nMADRUN-AGENT 1 0 0.0.1 %064d\\n' 0\nexec cat\n", encoding="ascii"
    )
    fake.chmod(0o755)
    done = cluster.madrun("--hosts", "node01", "--remote-python", fake, WORKER)
    assert done.returncode == 125
    assert reasons(done.stderr)["node01"].startswith("madrun 0.0.1 is installed there")


def test_a_folder_that_is_missing_on_one_host(cluster: Cluster) -> None:
    cluster.run("node01", ["mkdir", "/tmp/only-here"], check=True)
    done = cluster.madrun(
        *("--hosts", "node01,node02", "--workdir", "/tmp/only-here", "--no-python", "true")
    )
    cluster.run("node01", ["rmdir", "/tmp/only-here"], check=True)
    assert done.returncode == 125
    assert reasons(done.stderr) == {
        "node02": "working directory /tmp/only-here is not there (--workdir names another)"
    }


@pytest.mark.parametrize(
    ("program", "status", "reason"),
    [
        (("--no-python", "no-such-program"), 127, "is not found on the PATH"),
        (("no-such-script.py",), 127, "no-such-script.py is not found"),
        (("--no-python", "/etc/hostname"), 126, "/etc/hostname is not executable"),
    ],
)
def test_programs_that_cannot_run(
    cluster: Cluster, program: tuple[str, ...], status: int, reason: str
) -> None:
    done = cluster.madrun("--hosts", "node01,node02", *program)
    assert done.returncode == status
    assert reason in done.stderr
    assert "the job was not started" in done.stderr


def test_an_agent_that_never_answers(cluster: Cluster) -> None:
    silent = cluster.share / "silent-python"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    done = cluster.madrun(
        *("--hosts", "node01", "--launch-timeout", "1.5", "--remote-python", silent, WORKER)
    )
    assert done.returncode == 125
    (said,) = reasons(done.stderr).items()
    assert re.fullmatch(r"node01 has not been reached within [\d.]+ s", " ".join(said))
    # The stand-in knows nothing of leases: what it left is ours to end.
    for each in of_the_job(cluster):
        each.kill()


def test_too_few_gpus_on_one_host(cluster: Cluster) -> None:
    """nvidia-smi is stood in for: a test double, for there is no GPU here."""
    folder = cluster.share / "smi"
    folder.mkdir(exist_ok=True)
    smi = folder / "nvidia-smi"
    smi.write_text(
        "#!/bin/sh\n[ $(hostname) = node02 ] && echo 00000000:17:00.0 || "
        "printf '00000000:17:00.0\\n00000000:18:00.0\\n'\n"
    )
    smi.chmod(0o755)
    with cluster.login_shell(f"PATH={folder}:$PATH\n"):
        done = cluster.madrun("--hosts", "node[01-02]:2", "--no-python", "true")
        assert done.returncode == 125
        assert reasons(done.stderr) == {
            "node02": "too few GPUs: slot 1 is wanted, there are 1 nvidia device"
        }
        done = cluster.madrun(
            "--hosts", "node[01-02]:1", "--no-python", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"
        )
    assert done.stdout.splitlines() in (
        ["[node01:0] 0", "[node02:1] 0"],
        ["[node02:1] 0", "[node01:0] 0"],
    )


def test_bad_input_contacts_nobody(cluster: Cluster) -> None:
    done = cluster.run("head", [BIN / "madrun", "--hosts", "node01:0", WORKER])
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "slots must be a whole number of at least 1" in done.stderr
