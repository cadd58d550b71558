"""Saves the graphs of the sweep over shares and label mixtures of the data.

python src/create_topo/heterogeneous_topo.py [--seeds 0] [--out_dir topologies]
"""

from dml import topology_script

if __name__ == "__main__":
    topology_script.run("heterogeneous", __doc__, seeds=(0,))
