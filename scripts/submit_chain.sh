#!/bin/bash
# Submits the same job N times, each to start when the one before has ended, however it ended (afterany). Each goes on
# where the one before was at its time limit; if all is done, a job ends within seconds. From the repository's folder:
#
#   scripts/submit_chain.sh 4 -A PROJECT -p gpu -t 12:00:00 scripts/slurm/bd_scheduler.sbatch --preset paper
#   scripts/submit_chain.sh 4 -A PROJECT -q capacity -l walltime=24:00:00 scripts/polaris/bd_scheduler.pbs
#
# The words after N are those of sbatch (for a job *.sbatch) or of qsub (for a job *.pbs). The ids of the jobs are
# printed, one per line; to end the whole chain, give all of them to scancel or qdel, the last one first.
# Run on a Slurm 22.05 (tests/slurm); for PBS only against a stand-in for qsub that checks its arguments.
set -euo pipefail

wrong() {
    echo "error: $1" >&2
    echo "usage: scripts/submit_chain.sh N [options of sbatch or qsub] JOB.sbatch|JOB.pbs [flags, sbatch only]" >&2
    exit 2
}

[ $# -ge 2 ] || wrong "give the number of jobs, and the job"
number=$1
shift
[[ "$number" =~ ^[1-9][0-9]{0,2}$ ]] || wrong "N $number: must be a whole number from 1 to 999"

system="" job=""
for word in "$@"; do
    case $word in
        *.sbatch) system=sbatch ;;
        *.pbs) system=qsub ;;
        *) continue ;;
    esac
    job=$word
    break
done
[ -n "$job" ] || wrong "no job among: $* (a file that ends in .sbatch or .pbs)"
[ -f "$job" ] || wrong "$job: there is no such file; run this from the repository's folder"
command -v "$system" > /dev/null || wrong "$job: there is no $system on this machine"

before=""
for ((k = 1; k <= number; k++)); do
    if [ "$system" = sbatch ]; then
        after=(--parsable ${before:+"--dependency=afterany:$before"})
    else
        after=(${before:+-W "depend=afterany:$before"})
    fi
    if ! id=$("$system" ${after[@]+"${after[@]}"} "$@"); then
        echo "error: $((k - 1)) of $number jobs were submitted; $system refused the next one" >&2
        exit 1
    fi
    before=${id%%;*} # sbatch --parsable adds the cluster's name after a semicolon, if there are several
    echo "$before"
done
