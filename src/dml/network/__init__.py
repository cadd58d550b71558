"""Messages between processes: keys, contacts, headers, tensors, and one process's place on the wire.

Every connection is encrypted and authenticated by CURVE keys (ZeroMQ). A message is a small JSON header and
tensors in the safetensors format; nothing that is received is ever executed.
"""
