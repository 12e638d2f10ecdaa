"""Tests of code that uses akool_async: a pytest plugin, and a clock whose hours take milliseconds.

The plugin is active wherever this package is installed. Its fixtures are `akool_sandbox`, `akool_client`,
`akool_server` and `akool_clock`, its marker is `akool`; docs/testing.md tells how to use them.
"""

from akool_async.testing.clock import VirtualClock

__all__ = ["VirtualClock"]
