"""The command that each tool is given; Intel MPI and MVAPICH cannot be had here."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from madrun.backends import impi, mpich, mvapich, openmpi, pdsh
from madrun.backends.base import AgentStart
from madrun.backends.tools.openssh import quick_first
from madrun.backends.tools.session import find_program, runner_addresses, tool_environment
from madrun.backends.tools.tool import Tool
from madrun.hosts.hostfile import Host
from madrun.options.request import Ssh
from madrun.system.errors import ClusterError, InputError

PDSH, OPENMPI, MPICH = pdsh.TOOL, openmpi.TOOL, mpich.TOOL
IMPI, MVAPICH = impi.TOOL, mvapich.TOOL
TOOLS = (PDSH, OPENMPI, MPICH, IMPI, MVAPICH)
ASKED = Ssh("bob", 2222, "/keys/id", accept_new=True, connect_timeout=2.5)
LAUNCH = AgentStart(
    hosts=(Host("node02", (0, 1)), Host("node01", (0,))),
    python="/opt/py%n thon/bin/python3",
    isolated=True,
    ports=(4000, 4001),
    runner_key="ab" * 32,
    world_info="e30=",
    patience=60.0,
    backend_args=("--extra", "a b"),
)
every_tool = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)


def agent_words(tool: Tool, argv: tuple[str, ...]) -> list[str]:
    """The agent's own words, as its host's shell or the tool gives them."""
    words = shlex.split(argv[-1].replace("%%", "%")) if tool is PDSH else list(argv)
    return words[words.index("PYTHONSAFEPATH=1") + 1 :]


@every_tool
def test_one_constant_command_for_all_hosts_in_rank_order(tool: Tool) -> None:
    command = tool.command(LAUNCH, ["10.0.0.1", "fd00::1"], {})
    words = agent_words(tool, command.argv)
    assert words[:4] == [LAUNCH.python, "-I", "-m", "madrun.agent"]
    options = dict(zip(words[4::2], words[5::2], strict=True))
    assert options["--runner"] == "10.0.0.1,fd00::1"
    assert options["--tool"] == tool.name
    place = {"pdsh": "host:%h", "openmpi": "env:OMPI_COMM_WORLD_RANK"}
    assert options["--node-rank"] == place.get(tool.name, "env:PMI_RANK")
    names = [line.split()[0] for line in command.files["hosts"].splitlines()]
    assert names == ["node02", "node01"]
    assert command.argv[command.argv.index("--extra") :][:2] == ("--extra", "a b")


@every_tool
def test_options_of_ssh_reach_the_tools_ssh(tool: Tool) -> None:
    """What was asked of madrun beats the user's variable, and that beats our defaults."""
    extra = {
        "pdsh": "PDSH_SSH_ARGS_APPEND",
        "openmpi": "OMPI_MCA_plm_rsh_args",
        "impi": "I_MPI_HYDRA_BOOTSTRAP_EXEC_EXTRA_ARGS",
    }.get(tool.name, "HYDRA_LAUNCHER_EXTRA_ARGS")
    launch = LAUNCH._replace(ssh=ASKED)
    command = tool.command(launch, ["10.0.0.1"], {extra: "-F /my/config"})
    words = command.env[extra].split()
    assert words == [
        "-l", "bob", "-p", "2222", "-i", "/keys/id", "-o", "StrictHostKeyChecking=accept-new",
        "-F", "/my/config",
        "-o", "BatchMode=yes", "-o", "ConnectTimeout=3",
    ]  # fmt: skip


def test_both_versions_of_open_mpi_are_told_the_same() -> None:
    env = OPENMPI.command(LAUNCH._replace(ssh=ASKED), ["10.0.0.1"], {}).env
    assert env["PRTE_MCA_plm_ssh_args"] == env["OMPI_MCA_plm_rsh_args"]
    assert env["PRTE_MCA_plm_ssh_no_tree_spawn"] == env["OMPI_MCA_plm_rsh_no_tree_spawn"] == "1"


def test_words_of_the_tools() -> None:
    mpirun = OPENMPI.command(LAUNCH, ["10.0.0.1"], {}).argv
    assert mpirun[:9] == (
        "mpirun", "-np", "2", "--hostfile", "{folder}/hosts", "--map-by", "seq",
        "--bind-to", "none",
    )  # fmt: skip
    hydra = MPICH.command(LAUNCH, ["10.0.0.1"], {}).argv
    assert hydra[:8] == (
        "mpiexec.hydra", "-f", "{folder}/hosts", "-n", "2", "-ppn", "1", "-genvnone",
    )  # fmt: skip
    assert MVAPICH.command(LAUNCH, ["10.0.0.1"], {}).argv[:8] == hydra[:8]
    impi = IMPI.command(LAUNCH, ["10.0.0.1"], {})
    assert impi.argv[:8] == hydra[:8]
    assert impi.env["I_MPI_JOB_RESPECT_PROCESS_PLACEMENT"] == "off"
    pdsh = PDSH.command(LAUNCH, ["10.0.0.1"], {}).argv
    assert pdsh[:6] == ("pdsh", "-S", "-R", "ssh", "-f", "2")
    assert pdsh[-1].startswith("exec /usr/bin/env PYTHONSAFEPATH=1 '/opt/py%%n thon/bin/python3'")


@every_tool
@pytest.mark.parametrize(
    ("hosts", "key", "said"),
    [
        ((Host("a", (0,)), Host("bob@b", (0,))), "", "one user for all hosts is wanted"),
        ((Host("a", (0,), 22), Host("b", (0,), 23)), "", "one port for all hosts is wanted"),
        ((Host("a", (0,)),), "/my key", "no blanks"),
    ],
)
def test_what_one_tool_for_all_cannot_do(
    tool: Tool, hosts: tuple[Host, ...], key: str, said: str
) -> None:
    launch = LAUNCH._replace(hosts=hosts, ssh=Ssh(key=key))
    with pytest.raises(InputError, match=said):
        tool.command(launch, ["10.0.0.1"], {})


def test_pdsh_reads_a_colon_as_something_else() -> None:
    launch = LAUNCH._replace(hosts=(Host("fd00::1", (0,)),))
    with pytest.raises(InputError, match="cannot name fd00::1"):
        PDSH.command(launch, ["10.0.0.1"], {})


@every_tool
def test_a_tool_that_is_not_there(tool: Tool, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"is not found here; .*--backend ssh"):
        find_program(tool, str(tmp_path))


def test_an_mpirun_of_another_mpi_is_not_taken(tmp_path: Path) -> None:
    hydra = tmp_path / "mpiexec.hydra"
    hydra.write_text("")
    hydra.chmod(0o755)
    (tmp_path / "mpirun").symlink_to(hydra)
    with pytest.raises(ClusterError):
        find_program(OPENMPI, str(tmp_path))
    assert find_program(MPICH, str(tmp_path)) == str(hydra)
    (tmp_path / "mpirun.openmpi").write_text("")
    (tmp_path / "mpirun.openmpi").chmod(0o755)
    (tmp_path / "orterun").write_text("")
    assert find_program(OPENMPI, str(tmp_path)) == str(tmp_path / "mpirun.openmpi")


def test_the_tool_sees_a_login_and_its_own_settings() -> None:
    ours = {"HOME": "/h", "SSH_AUTH_SOCK": "/s", "OMPI_MCA_btl": "tcp", "WANDB_API_KEY": "secret",
            "PYTHONPATH": "/mine", "CUDA_VISIBLE_DEVICES": "0"}  # fmt: skip
    assert tool_environment(ours, OPENMPI.prefixes) == {
        "HOME": "/h", "SSH_AUTH_SOCK": "/s", "OMPI_MCA_btl": "tcp",
    }  # fmt: skip


def test_the_runner_is_reached_at_addresses_of_the_network() -> None:
    found = runner_addresses(LAUNCH._replace(hosts=(Host("localhost", (0,)),)))
    assert found
    assert found == ["127.0.0.1"] or not [each for each in found if each.startswith("127.")]


@pytest.mark.parametrize(
    "settings", ["", "user root\n", "kexalgorithms ecdh-sha2-nistp256,diffie-hellman\n"]
)
def test_a_site_without_the_quick_key_exchange_keeps_its_own(settings: str) -> None:
    assert quick_first(settings) == ""
