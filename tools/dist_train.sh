#!/usr/bin/env bash
# Train on several GPUs of one or more machines: tools/dist_train.sh CONFIG GPUS [options of train.py]
# Settings: NNODES, NODE_RANK, MASTER_ADDR, PORT; MAX_RESTARTS: after a process or machine failed, start all of them
# again this many times, from the last checkpoint (needs no NODE_RANK).
set -euo pipefail
CONFIG=$1
GPUS=$2
NNODES=${NNODES:-1}
ADDRESS=${MASTER_ADDR:-127.0.0.1}
PORT=${PORT:-29500}
if [[ ${NODE_RANK:-0} == 0 ]] && (: < "/dev/tcp/127.0.0.1/$PORT") 2> /dev/null; then
    echo "error: port $PORT is in use, perhaps by another training: set another one, such as PORT=$((PORT + 1))" >&2
    exit 1
fi
if [ "${MAX_RESTARTS:-0}" -gt 0 ]; then
    # a store of its own for every start: in a shared one, processes find the addresses of those that are gone
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    RENDEZVOUS=(--rdzv_backend=c10d --rdzv_endpoint="$ADDRESS:$PORT" --rdzv_id=train --max_restarts="$MAX_RESTARTS")
    RESUME=(--resume=auto)
else
    RENDEZVOUS=(--node_rank="${NODE_RANK:-0}" --master_addr="$ADDRESS" --master_port="$PORT")
    RESUME=()
fi
torchrun --nnodes="$NNODES" --nproc_per_node="$GPUS" "${RENDEZVOUS[@]}" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "${RESUME[@]}" "${@:3}"
