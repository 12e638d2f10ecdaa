"""Values and rules: no sockets, no clock, no randomness, no event loop.

Every other layer imports from here; this one imports only itself.
"""
