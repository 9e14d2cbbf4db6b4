#!/bin/sh
# Set the number of workers by what there is to do: one worker for SLOTS jobs that wait or run, between LEAST and MOST.
# A worker that is taken away drains; what it cannot finish goes back to the queue.
#   CELLQ_URL=redis://… DEPLOYMENT=cellq-worker SLOTS=2 LEAST=0 MOST=20 sh autoscale.sh
# ROUNDS=1 does it once.
set -eu

wanted() {
    cellq size --json | python3 -c '
import json, sys
slots, least, most = map(int, sys.argv[1:])
total = json.load(sys.stdin)["total"]
jobs = total["pending"] + total["running"]
print(min(most, max(least, -(-jobs // slots))))' "${SLOTS:-2}" "${LEAST:-0}" "${MOST:-20}"
}

now=""
round=0
while [ "${ROUNDS:-0}" = 0 ] || [ "$round" -lt "$ROUNDS" ]; do
    round=$((round + 1))
    # A store that is away for a moment is no reason to change anything.
    if next=$(wanted) && [ "$next" != "$now" ]; then
        kubectl scale "deployment/${DEPLOYMENT:-cellq-worker}" --replicas="$next"
        now=$next
    fi
    [ "$round" = "${ROUNDS:-0}" ] || sleep "${EVERY:-15}"
done
