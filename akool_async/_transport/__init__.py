"""The API host: the only room that sends credentials anywhere."""

from akool_async._transport.api import Api, Call, Limits

__all__ = ["Api", "Call", "Limits"]
