"""Who hears of callbacks; a receiver and an inbox pass them on alike."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from akool_async._model.responses import Callback, CallbackListener

logger: Final[logging.Logger] = logging.getLogger("akool_async")


class CallbackFeed:
    """Where callbacks come from: passes each on to all listeners."""

    _listeners: list[CallbackListener]

    def subscribe(self, listener: CallbackListener) -> Callable[[], None]:
        """Pass each callback from now on to a listener, such as a client.

        A batch subscribes by itself with `open_batch(..., callbacks=...)`. What a listener raises is logged.

        Returns:
            A function that ends the subscription.
        """
        self._listeners.append(listener)

        def unsubscribe() -> None:
            self._listeners = [other for other in self._listeners if other is not listener]

        return unsubscribe

    def _pass_on(self, callback: Callback) -> None:
        for listener in self._listeners:
            try:
                listener.on_callback(callback)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # the caller's own code may not cost the others their hint, nor end this
                logger.exception("A listener failed to handle a webhook; the other listeners received it.")
