#!/bin/bash
# Workers on a cluster: eight of them, each with the processors and the memory of its task, until the time is over.
#   sbatch --export=ALL,CELLQ_URL=redis://queue:6379/0,CELLQ_SECRET=… docs/deploy/slurm.sh
#SBATCH --job-name=cellq
#SBATCH --array=1-8
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=08:00:00
# Slurm sends SIGTERM two minutes before the end: the worker drains, and what has not ended goes back to the queue.
# (B: to the script itself, which is the worker by then. Without it only job steps get the signal.)
#SBATCH --signal=B:TERM@120
set -eu

# `exec`: the signal must reach the worker, not a shell in front of it.
exec cellq worker -q "${CELLQ_QUEUE:-default}" -n "${SLURM_CPUS_PER_TASK:-2}" --drain 100 --idle-exit 600
