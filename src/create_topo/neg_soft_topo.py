"""Saves the graphs of the sweep over signed softmax coefficients and their schedules.

python src/create_topo/neg_soft_topo.py [--seeds 0 1 2] [--out_dir topologies]
"""

from dml import topology_script

if __name__ == "__main__":
    topology_script.run("neg_soft", __doc__, seeds=(0, 1, 2))
