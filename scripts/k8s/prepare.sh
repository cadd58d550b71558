#!/usr/bin/env bash
# Writes the parts, the keys and the file of peers of an experiment into a new folder, for the pods of job.yaml.
# From the repository's folder; the words after the folder are flags of the experiment:
#
#   scripts/k8s/prepare.sh k8s-files --topology_file cycle:n=4 --rounds 3
#
# It prints the commands that then start the pods. docs/containers.md has all steps.
set -euo pipefail

PYTHON=${PYTHON:-.venv/bin/python}   # the environment of Python with this project

if [ $# = 0 ] || [[ $1 == -* ]]; then
    echo "error: give a new folder, then the flags of the experiment" >&2
    exit 2
elif [ ! -f scripts/k8s/prepare.sh ]; then
    echo "error: $PWD is not the folder of distributed_ml: cd there, then call this again" >&2
    exit 2
elif [ -e "$1" ]; then
    echo "error: $1 is there already, and keys are never changed; give a new folder" >&2
    exit 2
fi
folder=$1
shift

"$PYTHON" src/experiments/launch_peers.py "$@" --prepare "$folder/experiment" > /dev/null
peers=$folder/experiment/peers.yaml
# The names that job.yaml and network.yaml give the pods, instead of this machine.
awk '/^- port: / { printf "- host: peers-%d.peers\n  port: 5555\n", n++; next } { print }' "$peers" > "$peers.new"
echo "public_keys: public_keys.yaml" >> "$peers.new"
mv "$peers.new" "$peers"
nodes=$(grep -c '^- host: ' "$peers")
"$PYTHON" src/experiments/make_keys.py --num_nodes "$nodes" --out_dir "$folder/keys" > /dev/null
mv "$folder/keys/public_keys.yaml" "$folder/experiment"

if ! grep -qx "  completions: $nodes" scripts/k8s/job.yaml; then
    echo "change completions and parallelism in scripts/k8s/job.yaml to $nodes, and backoffLimit to $((10 * nodes)):" >&2
fi
cat << TOLD
kubectl apply -f scripts/k8s/namespace.yaml -f scripts/k8s/network.yaml -f scripts/k8s/volume.yaml
kubectl -n distributed-ml create secret generic peers-keys --from-file=$folder/keys
kubectl -n distributed-ml wait --for=condition=Ready pod/files
kubectl -n distributed-ml cp $folder/experiment files:/volume
kubectl apply -f scripts/k8s/job.yaml
TOLD
