"""The API host: the only room that sends credentials anywhere."""

from akool_async._http.session import ApiCall, ApiSession, Timeouts

__all__ = ["ApiSession", "ApiCall", "Timeouts"]
