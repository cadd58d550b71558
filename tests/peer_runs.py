"""Peers that run one experiment after another, started once.

python tests/peer_runs.py FOLDER NODE
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dml import assembly, experiment
from dml.config import make
from dml.network.peers import load
from dml.peers import launch, meeting, parts
from dml.peers.config import ExperimentPeers
from dml.plan import make_plan
from dml.ranks.ranks import Ranks

CASES = "cases.json"


def free_peers(n: int, folder: Path, **content: object) -> Path:
    """A file of peers on free ports of this host."""
    ports = launch.free_ports(n)
    path = folder / launch.PEERS
    path.write_text(json.dumps({"nodes": [{"port": port} for port in ports], **content}))
    return path


def run_peers(folder: Path, n: int, cases: Mapping[str, Mapping[str, object]]) -> dict[str, Path]:
    """Runs each case with a process for each of n nodes; the result file of each.

    Args:
        folder: for the files; it exists.
        n: the number of nodes of all cases.
        cases: the flags of an experiment by the name of a case.
    """
    (folder / CASES).write_text(json.dumps(cases))
    free_peers(n, folder, measure="all", deadline=30, slow_deadline=60)
    for name, flags in cases.items():
        (folder / name).mkdir()
        plan = make_plan(make({**flags, "out_dir": folder / name}, drop_unread=True))
        parts.cut(assembly.whole(plan), folder / name, plan.identity.id)
    processes = [subprocess.Popen([sys.executable, __file__, str(folder), str(node)]) for node in range(n)]
    codes = [process.wait(timeout=500) for process in processes]
    assert codes == [0] * n
    return {name: next((folder / name).glob("*.h5")) for name in cases}


def main(folder: Path, node: int) -> None:
    """The part of one peer."""
    cases = json.loads((folder / CASES).read_text())
    peers = load(folder / launch.PEERS, ExperimentPeers)
    for name, flags in cases.items():
        config = make({**flags, "out_dir": folder / name}, drop_unread=True)
        plan = make_plan(config)
        own = parts.read(folder / name, node, len(peers.nodes), plan.identity.id)
        named = peers.model_copy(update={"run": name})
        with meeting.met(plan, named, node, own, print) as ranks:
            assemble = parts.assembling(own, folder / name, ranks, plan.identity.id)
            if node:
                experiment.take_part(config, ranks, assemble=assemble)
                continue

            @contextmanager
            def join(missing: bool, ranks: Ranks = ranks) -> Iterator[Ranks]:
                ranks.largest(int(missing))
                yield ranks

            experiment.run(config, join=join, assemble=assemble)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
