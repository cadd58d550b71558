"""Saves the graphs of the sweep over softmax coefficients and shares of the data.

python src/create_topo/softmax_topo.py [--seeds 0] [--out_dir topologies]
"""

from dml import topology_script

if __name__ == "__main__":
    topology_script.run("softmax", __doc__, seeds=(0,))
