#!/usr/bin/env bash
# Ray 2.60.0: one plain ray.init() on a machine leaves a token in ~/.ray/auth_token. From then on `ray start --head`, with
# RAY_AUTH_MODE unset, asks for that token, since it finds one; but `ray start --address` of the same user on the same
# machine, with the same file in reach, shows none: it repeats "Authentication token is missing or incorrect" and never
# joins. With RAY_AUTH_MODE=token in the environment of both, or in a home where ray.init() never ran, it joins. So
# the same two commands make a cluster of two nodes, or hang, by what was run on the machine before.
#
# Seen on Linux x86-64: before ray.init() the second node joins; after it "Authentication token is missing"; with
# RAY_AUTH_MODE=token it joins.
set -euo pipefail
work=$(mktemp -d -t rXXXX) # a short name: Ray puts sockets there, whose paths have 107 characters at most
nodes=()
cleanup() {
  for node in "${nodes[@]}"; do kill -9 -- "-$node" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT
cd "$work"
export HOME=$work RAY_USAGE_STATS_ENABLED=0
unset RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_AUTH_TOKEN_PATH

"${PYTHON311:-python3.11}" -m venv env
env/bin/pip install --quiet ray==2.60.0

# two_nodes NAME PORT: whether a second node joins the first within half a minute; the nodes are stopped.
two_nodes() {
  export RAY_TMPDIR=$work/$1
  mkdir -p "$RAY_TMPDIR"
  setsid env/bin/ray start --head --port "$2" --include-dashboard false --num-cpus 1 --block >"$1.head" 2>&1 &
  nodes+=($!)
  for _ in $(seq 60); do grep -q "Ray runtime started" "$1.head" && break; sleep 0.5; done
  setsid env/bin/ray start --address "127.0.0.1:$2" --num-cpus 1 --block >"$1.second" 2>&1 &
  nodes+=($!)
  joined=no
  for _ in $(seq 60); do
    grep -q "Ray runtime started" "$1.second" && joined=yes && break
    grep -q "Authentication token is missing" "$1.second" && joined=refused && break
    sleep 0.5
  done
  for node in "${nodes[@]}"; do { kill -9 -- "-$node" && wait "$node"; } 2>/dev/null || true; done
  nodes=()
  echo "ray 2.60.0, $1: second node joined: $joined"
}

two_nodes before 6391
[ "$joined" = yes ]
mkdir -p alone
RAY_TMPDIR=$work/alone env/bin/python -c 'import ray; ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False); ray.shutdown()' >/dev/null 2>&1
[ -s .ray/auth_token ]
two_nodes after 6393
[ "$joined" = refused ]
export RAY_AUTH_MODE=token
two_nodes with-mode 6395
[ "$joined" = yes ]
echo "still so"
