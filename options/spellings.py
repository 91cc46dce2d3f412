"""What people type who come from torchrun, accelerate, deepspeed, mpirun and srun.

Where a spelling means the same here, it is one of an option's own names (see ``request``). This
table has the others: each gets one line that says what to write, or is taken and changes nothing.
Dashes and underscores are alike.
"""

from __future__ import annotations

from typing import NamedTuple


class Foreign(NamedTuple):
    """Spellings of other programs; ``advice`` is empty where they are taken as they are.

    ``flag``: no value follows.
    """

    names: str
    advice: str = ""
    flag: bool = False


_TOTAL = "workers are counted by host: --nproc-per-node N"
_PER_NODE = "write --nproc-per-node N"
_HOSTS = "write --hosts 'node[01-02]:8', or --hostfile FILE"
_MEETS = "not needed: the nodes find each other; --master-addr and --master-port name the place"
_BY_HAND = "madrun starts all nodes; to start each by hand, run 'madagent --node-rank N' on it"
_BATCH = "for a batch job, write --submit slurm --slurm {}=VALUE; in an allocation, ask it there"
_ELASTIC = "elastic jobs come in a later version"
_EXPORT = "write --export NAME=VALUE"

# Taken as they are: they ask for what is so anyway.
ACCEPTED = (
    Foreign("--standalone --no-ssh-check --tag-output --label -l", flag=True),
    Foreign("--allow-run-as-root --oversubscribe --multi-gpu", flag=True),
    Foreign("--log-level"),
)
REFUSED = (
    # torchrun
    Foreign("--tee -t --redirects -r", "output is shown, and written to log files, by default;"
            " --output chooses whose is shown, --log-dir where files are"),
    Foreign("--local-ranks-filter", "write --output with global ranks: --output 0,3-5"),
    Foreign("--max-restarts", "nothing is started anew in this version;"
            " --launcher torchrun --launcher-opt max_restarts=N lets torchrun do it"),
    Foreign("--rdzv-backend --rdzv-endpoint --rdzv-id --rdzv-conf", _MEETS),
    Foreign("--monitor-interval --start-method --role --logs-specs --local-addr",
            "it has no meaning here; leave it out"),
    Foreign("--run-path", "write --no-python, and the path of the program", flag=True),
    # accelerate
    Foreign("--num-processes", _TOTAL),
    Foreign("--num-machines", "write --nnodes N"),
    Foreign("--machine-rank", _BY_HAND),
    Foreign("--main-process-ip", "write --master-addr HOST"),
    Foreign("--main-process-port", "write --master-port PORT"),
    Foreign("--gpu-ids", "write --include HOST:0,2, or --include localhost:0,2 on one machine"),
    Foreign("--mixed-precision --config-file --dynamo-backend --deepspeed-config-file"
            " --gradient-accumulation-steps --fsdp-sharding-strategy",
            "that is accelerate's: let it run the program, madrun ... -m accelerate.commands.launch"
            " is not needed; set it in the script or in Accelerator(...)"),
    Foreign("--use-deepspeed --use-fsdp --use-megatron-lm --cpu",
            "that is accelerate's: set it in the script or in Accelerator(...)", flag=True),
    # deepspeed
    Foreign("--min-elastic-nodes --max-elastic-nodes", _ELASTIC),
    Foreign("--elastic-training", _ELASTIC, flag=True),
    Foreign("--autotuning", "autotuning comes in a later version;"
            " 'deepspeed --autotuning' itself does it meanwhile"),
    Foreign("--no-ssh", _BY_HAND, flag=True),
    # mpirun
    Foreign("-np --np", _TOTAL),
    Foreign("-ppn -perhost --npernode -npernode --ranks-per-node", _PER_NODE),
    Foreign("-hosts -host", _HOSTS),
    Foreign("-hostfile -machinefile --machinefile -f", "write --hostfile FILE"),
    Foreign("-genv", _EXPORT),
    Foreign("-genvall", "write --export-all", flag=True),
    Foreign("--map-by --rank-by --bind-to --cpu-set",
            "write --bind-cores-to-rank; workers go host by host, in the order of the slots"),
    Foreign("--mca --prtemca", "write --backend openmpi --backend-args '--mca NAME VALUE'"),
    Foreign("--wdir -wdir --chdir -D", "write --workdir DIR"),
    Foreign("--output-filename", "write --log-dir DIR"),
    Foreign("--timeout", "a limit of time comes in a later version; 'timeout 1h madrun ...' ends"
            " a job as SIGTERM does"),
    # srun
    Foreign("-n --ntasks", _TOTAL),
    Foreign("-N --nodes", "write --nnodes N for srun's -N, --nproc-per-node N for mpirun's"),
    Foreign("--ntasks-per-node --tasks-per-node --gpus-per-node --gpus-per-task", _PER_NODE),
    Foreign("-w --nodelist", _HOSTS),
    Foreign("--exclude-nodes", "write --exclude HOST"),
    Foreign("-p --partition", _BATCH.format("partition")),
    Foreign("-A --account", _BATCH.format("account")),
    Foreign("--time", _BATCH.format("time")),
    Foreign("--qos", _BATCH.format("qos")),
    Foreign("--mem", _BATCH.format("mem")),
    Foreign("--gres -G --gpus", _BATCH.format("gpus_per_node")),
    Foreign("-c --cpus-per-task", _BATCH.format("cpus_per_task")),
    Foreign("--exclusive", "write --submit slurm --slurm exclusive", flag=True),
    Foreign("-J --job-name --cpu-bind --gpu-bind --mpi --kill-on-bad-exit",
            "that is srun's; madrun asks for what it needs itself"),
)  # fmt: skip
