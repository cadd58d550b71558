"""Pairwise averaging in a training script of the user's: a few calls make the script a peer of others.

from dml.pairing import Peer

with Peer(model, name="node 0", config="peers.yaml") as peer:
    for x, y in batches:
        peer.update_send(loss)      # publishes the model, and may begin to fetch that of another peer
        loss = train(model, x, y)   # meanwhile
        peer.update_wait(loss)      # mixes the fetched model in
"""

from dml.pairing.peer import Peer

__all__ = ["Peer"]
