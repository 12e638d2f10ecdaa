"""An observer that keeps what it is told."""

from __future__ import annotations

from typing import Any

from akool_async import Event, Observer


class Recorder(Observer):
    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def named(self, name: str) -> list[Any]:
        return [event for event in self.events if event.name == name]

    def story(self, *names: str) -> list[str]:
        return [event.name for event in self.events if event.name in names]
