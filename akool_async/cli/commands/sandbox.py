"""`akool-async sandbox`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async.cli.talk import talk


def sandbox(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 8321,
    cdn_port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 0,
    api_key: str = "sandbox-key",
    credit: Annotated[float, Parameter(validator=Number(gte=0))] = 100_000.0,
    max_jobs: Annotated[int, Parameter(validator=Number(gte=1))] = 10,
    time_scale: Annotated[float, Parameter(validator=Number(gt=0))] = 1.0,
    media: bool = True,
    legacy: bool = False,
    seed: int = 0,
) -> int:
    """Imitate the vendor's API on this machine until Ctrl-C, for clients in any language.

    Parameters
    ----------
    host
        Address to listen on.
    port
        Port of the API; 0 takes a free one.
    cdn_port
        Port of the host for results; 0 takes a free one.
    api_key
        The key that is accepted; the client secret is the same.
    credit
        Balance of the account at the start.
    max_jobs
        Jobs at work at once; more wait.
    time_scale
        Sandbox seconds in one real second.
    media
        Fetch the videos and make results that play; without it any URL will do.
    legacy
        Answer as older servers do.
    seed
        Makes durations and failures repeatable.
    """
    from akool_async.cli.sandbox import run_sandbox

    return run_sandbox(
        host=host,
        port=port,
        cdn_port=cdn_port,
        talk=talk,
        api_key=api_key,
        credits=credit,
        max_jobs=max_jobs,
        time_scale=time_scale,
        media=media,
        flavour="legacy" if legacy else "current",
        seed=seed,
    )
