#!/bin/sh
# Runs once on each node. Primus's own script reads EXP, BACKEND, NNODES, NODE_RANK, MASTER_ADDR.
set -eu
cd "$PRIMUS_ROOT"
# shellcheck disable=SC2086  # several words
exec bash examples/run_pretrain.sh ${PRIMUS_CLI_EXTRA:-}
