"""Saves the twelve graphs of the paper's sweep (arXiv 2505.11760).

python src/create_topo/backdoor_topo.py [--seeds 0 1 2] [--out_dir topologies]
"""

from dml import topology_script

if __name__ == "__main__":
    topology_script.run("paper", __doc__, seeds=(0, 1, 2))
