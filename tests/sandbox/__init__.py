"""Tests of the sandbox: over real sockets, with a fake clock, against what is documented."""
