"""Values and rules: no sockets, no clock, no randomness, no event loop.

Every other floor imports from here; this floor imports only itself.
"""
