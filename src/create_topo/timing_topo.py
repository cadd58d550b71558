"""Saves the graphs on which experiments are timed.

python src/create_topo/timing_topo.py [--seeds 0] [--out_dir topologies]
"""

from dml import topology_script

if __name__ == "__main__":
    topology_script.run("timing", __doc__, seeds=(0,))
