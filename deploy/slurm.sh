#!/usr/bin/env bash
#SBATCH --job-name=nasgen-search
#SBATCH --array=1-16
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=08:00:00
# SIGTERM comes to this script, which is nasgen by then, a minute before the end: the worker saves its trial.
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
#SBATCH --output=nasgen-%A_%a.log
set -euo pipefail

# A PostgreSQL that the nodes reach, and images on a file system that they share.
: "${DATABASE:?DATABASE=postgresql://user:password@host/studies sbatch deploy/slurm.sh}"
: "${PHOTOS:=photos}"

# `exec`: the signal reaches nasgen itself.
exec nasgen search --storage "$DATABASE" --study photos --data "$PHOTOS" \
    --trials 2000 --max-params 300k --pruner asha --jobs "${SLURM_CPUS_PER_TASK:-4}"
