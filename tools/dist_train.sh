#!/usr/bin/env bash
# Train on several GPUs of one or more machines: tools/dist_train.sh CONFIG GPUS [options of train.py]
set -euo pipefail
CONFIG=$1
GPUS=$2
PORT=${PORT:-29500}
if [[ ${NODE_RANK:-0} == 0 ]] && (: < "/dev/tcp/127.0.0.1/$PORT") 2> /dev/null; then
    echo "error: port $PORT is in use, perhaps by another training: set another one, such as PORT=$((PORT + 1))" >&2
    exit 1
fi
torchrun \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="$PORT" \
    --nproc_per_node="$GPUS" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "${@:3}"
