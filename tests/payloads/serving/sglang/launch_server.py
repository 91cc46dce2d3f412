"""``python -m sglang.launch_server``, as madrun starts it; see stand_in.py."""

from __future__ import annotations

import signal

import stand_in  # type: ignore[import-not-found]  # its folder is on PYTHONPATH

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
made = stand_in.parser()
made.add_argument("--model-path", required=True)
made.add_argument("--tp-size", type=int, required=True)
made.add_argument("--host", required=True)
made.add_argument("--dist-init-addr", default="")
made.add_argument("--disaggregation-mode", choices=["prefill", "decode"])
made.add_argument("--disaggregation-bootstrap-port", type=int)
made.add_argument("--disaggregation-transfer-backend")
args = made.parse_args()

if args.node_rank:
    stand_in.follow(args.dist_init_addr)
else:
    if args.dist_init_addr:
        stand_in.lead(args.dist_init_addr)
    stand_in.serve(args.model_path, args.port, tuple(args.stand_in))
    stand_in.until_told()
