#!/bin/sh
# Runs once on each node. $MAD_MULTI_NODE_RUNNER holds the words that start this node's workers,
# so it stands there without quotes.
set -eu
cd "$(dirname "$0")"
exec $MAD_MULTI_NODE_RUNNER train_ddp.py "$@"
