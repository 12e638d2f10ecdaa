"""Calls to the API host: the only package that sends credentials."""

from akool_async._http.session import ApiCall, ApiSession, CallInDoubt, Timeouts

__all__ = ["ApiCall", "ApiSession", "CallInDoubt", "Timeouts"]
