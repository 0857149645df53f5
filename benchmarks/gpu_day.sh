#!/usr/bin/env bash
# One day with a GPU, in 25 minutes: every figure that needs one, in one folder. How to: docs/performance.md.
#
#   benchmarks/gpu_day.sh [--dry] [--wheels DIR] [--data DIR] [--work DIR] [--only STAGE[,STAGE…]] OUT
#
#   OUT       gets rows.jsonl (a row the moment it is known), environment.json, gpu_day.{md,png,log}
#   --dry     all stages in small sizes on the CPU, without a GPU and without PyTorch if there is none
#   --wheels  a folder of wheels, for what the machine lacks (see below); no network is used
#   --data    a folder with normal.npz and ood.npz, by `python -m benchmarks.gpu.data DIR` where there is a network
#   --work    scratch folder; kept between calls, it keeps the compilation cache for the stage `cache`
#   --only    some of the stages, in this order: same_numbers main_job cache beside members large
#
# A stage that fails or runs out of its time ends no other; each is said at the end, and the exit status is then 1.
#
# A machine with Python 3.12, jax 0.11.2 with its CUDA 13 plugin and torch 2.11 lacks tyro. Where there is a network:
#   pip download --only-binary=:all: --python-version 3.12 -d wheels tyro

set -uo pipefail
cd "$(dirname "$0")/.."

# stage, seconds that it may take (together at most 1,500), module, its further options
STAGES=(
  "same_numbers 240 same_numbers"
  "main_job 200 main_job --data DATA --work WORK"
  "cache 100 main_job --data DATA --work WORK --again"
  "beside 560 beside"
  "members 200 members"
  "large 200 large"
)

fail() { echo "$1" >&2; exit 2; }
usage() { sed -n 's/^# \{0,1\}//p' "$0" | sed -n '2,18p'; }

DRY="" WHEELS="" DATA="" WORK="" ONLY="" OUT=""
while [ $# -gt 0 ]; do
  case "$1" in
    --dry) DRY=--dry ;;
    --wheels|--data|--work|--only)
      [ $# -ge 2 ] || fail "$1 needs a value"
      case "$1" in
        --wheels) WHEELS=$2 ;;
        --data) DATA=$2 ;;
        --work) WORK=$2 ;;
        --only) ONLY=$2 ;;
      esac
      shift ;;
    -h|--help) usage; exit 0 ;;
    -*) fail "unknown option $1; there are --dry, --wheels, --data, --work, --only" ;;
    *) [ -z "$OUT" ] || fail "one OUT folder, got $OUT and $1"; OUT=$1 ;;
  esac
  shift
done
[ -n "$OUT" ] || fail "OUT is missing: benchmarks/gpu_day.sh [--dry] [--wheels DIR] [--data DIR] OUT"
for name in ${ONLY//,/ }; do
  printf '%s\n' "${STAGES[@]}" | grep -q "^$name " ||
    fail "--only $name: no such stage; there are $(printf '%s\n' "${STAGES[@]}" | cut -d' ' -f1 | paste -sd' ')"
done
[ -n "$DRY" ] || [ -f "$DATA/normal.npz" ] ||
  fail "--data '$DATA' has no normal.npz: where there is a network, python -m benchmarks.gpu.data DIR, and carry DIR"
mkdir -p "$OUT" || fail "OUT can't be made: $OUT"
[ -n "$WORK" ] || WORK=$(mktemp -d)
mkdir -p "$WORK" || fail "--work can't be made: $WORK"

PYTHON=$(command -v python3 || command -v python) || fail "there is no python3"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export XLA_PYTHON_CLIENT_PREALLOCATE=false # PyTorch shares the memory
[ -z "$DRY" ] || export JAX_PLATFORMS=cpu
if [ -n "$WHEELS" ]; then
  ls "$WHEELS"/*.whl > /dev/null 2>&1 || fail "--wheels $WHEELS: there are no wheels"
  "$PYTHON" -m pip install -q --no-index --no-deps --upgrade --target "$WORK/site" "$WHEELS"/*.whl || exit 1
  export PYTHONPATH="$PYTHONPATH:$WORK/site" # after what is installed
fi
exec > >(tee -a "$OUT/gpu_day.log") 2>&1

"$PYTHON" -m benchmarks.gpu.preflight $DRY || exit 1
"$PYTHON" -c "
import pathlib, sys
from benchmarks.gpu.rows import write_environment
write_environment(pathlib.Path(sys.argv[1]))" "$OUT" || exit 1
command -v nvidia-smi > /dev/null && nvidia-smi
if [ -n "$DRY" ] && [ -z "$DATA" ]; then
  DATA=$WORK/data
  "$PYTHON" -m benchmarks.gpu.data "$DATA" --dry || exit 1
fi

for stage in "${STAGES[@]}"; do
  read -r name budget module options <<< "$stage"
  [ -z "$ONLY" ] || [[ ",$ONLY," == *",$name,"* ]] || continue
  arguments=()
  for word in $options; do
    case "$word" in
      DATA) arguments+=("$DATA") ;;
      WORK) arguments+=("$WORK") ;;
      *) arguments+=("$word") ;;
    esac
  done
  [ -z "$DRY" ] || budget=$((3 * budget)) # a CPU may be busy with others
  echo "== $name, at most $budget s"
  began=$SECONDS
  timeout --kill-after=10 "$budget" "$PYTHON" -m "benchmarks.gpu.$module" --out "$OUT" $DRY "${arguments[@]}"
  status=$?
  echo "{\"stage\": \"$name\", \"name\": \"ended\", \"exit\": $status, \"seconds\": $((SECONDS - began))}" >> "$OUT/rows.jsonl"
done

"$PYTHON" -m benchmarks.gpu.summary "$OUT"
