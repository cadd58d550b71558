"""Saves the graph of the sweep over label mixtures and softmax coefficients.

python src/create_topo/hetero_label_topo.py [--seeds 0] [--out_dir topologies]
"""

from dml import topology_script

if __name__ == "__main__":
    topology_script.run("hetero_label", __doc__, seeds=(0,))
