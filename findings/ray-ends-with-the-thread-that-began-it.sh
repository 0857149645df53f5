#!/usr/bin/env bash
# Ray 2.60.0 on Linux: a cluster that ray.init() starts in a thread lives as long as that thread, not as the process. Its
# head's process has the kernel's parent-death signal, which counts the thread that started it for the parent. So a
# cluster begun in a pool's thread, to save time, has no gcs_server a second after the pool has closed, although
# ray.is_initialized() still says True and nothing was shut down.
#
# Seen on Linux x86-64: "thread waits: gcs_server runs: True, initialized: True", then "thread ended: gcs_server runs:
# False, initialized: True".
set -euo pipefail
work=$(mktemp -d -t rXXXX) # a short name: Ray puts sockets there, whose paths have 107 characters at most
trap 'rm -rf "$work"' EXIT
cd "$work"
export HOME=$work RAY_TMPDIR=$work RAY_USAGE_STATS_ENABLED=0
unset RAY_ADDRESS RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_AUTH_TOKEN_PATH

"${PYTHON311:-python3.11}" -m venv env
env/bin/pip install --quiet ray==2.60.0 psutil==7.2.2

cat >threads.py <<'PY'
import os
import sys
import threading
import time

import psutil
import ray

waiting = threading.Event()


def begin():
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    if sys.argv[1] == "waits":
        waiting.wait()


def running():
    names = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                names.append(process.name())
        except psutil.NoSuchProcess:
            pass
    return "gcs_server" in names


thread = threading.Thread(target=begin, daemon=True)
thread.start()
while not ray.is_initialized():
    time.sleep(0.05)
if sys.argv[1] == "ended":
    thread.join()
time.sleep(2)
print(f"thread {sys.argv[1]}: gcs_server runs: {running()}, initialized: {ray.is_initialized()}", flush=True)
for process in psutil.Process().children(recursive=True):
    process.kill()
os._exit(0)
PY

env/bin/python threads.py waits | grep -v "^\[" | tee waits
env/bin/python threads.py ended | grep -v "^\[" | tee ended
[ "$(cat waits)" = "thread waits: gcs_server runs: True, initialized: True" ]
[ "$(cat ended)" = "thread ended: gcs_server runs: False, initialized: True" ]
echo "still so"
