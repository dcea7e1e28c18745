#!/bin/bash
# A job array of SLURM: sbatch --array=0-99 slurm.sh manifest.parquet s3://bucket/results
#SBATCH --cpus-per-task=8 --mem=8G --time=02:00:00 --requeue
srun digitcli predict --manifest "$1" -o "$2" --workers 8 \
    --portion "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
