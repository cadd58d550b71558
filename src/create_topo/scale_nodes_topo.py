"""Saves the graphs of the sweep over numbers of nodes.

python src/create_topo/scale_nodes_topo.py [--seeds 0] [--out_dir topologies]
"""

from dml import topology_script

if __name__ == "__main__":
    topology_script.run("scale_nodes", __doc__, seeds=(0,))
