"""Saves eight small example graphs.

python src/create_topo/create_topologies.py [--out_dir topologies]
"""

from dml import topology_script

if __name__ == "__main__":
    topology_script.run("examples", __doc__)
