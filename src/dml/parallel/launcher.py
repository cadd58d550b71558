"""Starts the workers of a job: one command on each of its hosts, by srun or mpiexec.

Parsl's own launchers leave a file ``parsl.*.nodes`` in the user's folder, and write a script that is named
after the job, whose name may hold a blank.

This module imports Parsl, so it is imported when a configuration is made.
"""

from parsl.launchers.base import Launcher


class OnEachHost(Launcher):
    """Runs a command once on each host of a job.

    Args:
        start: the command that starts another one on the hosts; ``{hosts}`` stands for their number, and
            ``{nodefile}`` for a file that names each of them once (in a PBS job).
        first: shell commands on each host before; the other hosts need not inherit any environment.
    """

    def __init__(self, start: str, first: str) -> None:
        super().__init__(debug=False)
        self.start, self.first = start, first

    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int, script_dir: str = "") -> str:
        """The shell script that a job runs.

        Args:
            command: the command of the workers of a host.
            tasks_per_node: always 1, as one command starts all workers of a host.
            nodes_per_block: the number of hosts.
            script_dir: a folder for Parsl's scripts that all hosts share.
        """
        # Both of Parsl's providers set $JOBNAME, to a name of their own that no other job has.
        script, nodefile = f'"{script_dir}/$JOBNAME.workers"', f'"{script_dir}/$JOBNAME.nodes"'
        start = self.start.format(hosts=nodes_per_block, nodefile=nodefile)
        lines = [
            "set -e",
            *([f'sort -u "$PBS_NODEFILE" > {nodefile}'] if nodefile in start else []),
            f"cat > {script} <<'END_OF_WORKERS'",
            self.first,
            command,
            "END_OF_WORKERS",
            f"{start} /bin/bash {script}",
        ]
        return "\n".join([*lines, ""])
