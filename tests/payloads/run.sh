#!/bin/sh
# A script as users have it: the runner stands unquoted before the program.
exec $MAD_MULTI_NODE_RUNNER "$@"
