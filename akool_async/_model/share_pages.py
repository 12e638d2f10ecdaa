"""Links that people share instead of files: what each is by its form, and how its direct form looks."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

import attrs

_OTHER_STORAGE: Final = "Upload the original to storage with public or presigned URLs, such as S3."
_FILE_ID: Final = re.compile(r"/d/([\w-]{10,})|[?&]id=([\w-]{10,})")


@attrs.frozen
class SharePage:
    """A page that shows a video, which is no video for a program that fetches it.

    Attributes:
        name: what it is, such as "a share page of Google Drive".
        advice: how the direct form looks, or what to do if there is none.
    """

    name: str
    advice: str


def find_share_page(url: str) -> SharePage | None:
    """Return what share page a URL leads to; None if its form is not that of one.

    Known are Google Drive, YouTube, Vimeo, Dropbox, SharePoint and OneDrive; their direct links are no pages.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").removeprefix("www.")
    except ValueError:
        return None
    place = f"{parts.path}?{parts.query}"
    for hosts, direct, page in _SERVICES:
        if re.fullmatch(hosts, host):
            if direct and re.search(direct, place):
                return None
            found = _FILE_ID.search(place)
            file_id = (found[1] or found[2]) if found else "FILE_ID"
            return attrs.evolve(page, advice=page.advice.replace("FILE_ID", file_id))
    return None


_SERVICES: Final = (
    (
        r"(drive|docs|drive\.usercontent)\.google\.com",
        r"^/(uc|download)\b",
        SharePage(
            "a share page of Google Drive",
            "Share the file itself with everyone who has the link, and use its direct form: "
            "https://drive.usercontent.google.com/download?id=FILE_ID&export=download&confirm=t",
        ),
    ),
    (
        r"((m|music)\.)?youtube(-nocookie)?\.com|youtu\.be",
        "",
        SharePage("a page of YouTube", f"YouTube gives out no files. {_OTHER_STORAGE}"),
    ),
    (
        r"(player\.)?vimeo\.com",
        r"^/(external|progressive_redirect)/",
        SharePage(
            "a page of Vimeo",
            "Use the link to the video file, which Vimeo gives out on some plans: "
            f"https://player.vimeo.com/progressive_redirect/playback/... {_OTHER_STORAGE}",
        ),
    ),
    (
        r"(m\.)?dropbox\.com",
        r"[?&](dl|raw)=1\b",
        SharePage("a share page of Dropbox", "Use its direct form: the same link with dl=1 instead of dl=0."),
    ),
    (
        r"[a-z0-9-]+\.sharepoint\.com|1drv\.ms|onedrive\.live\.com",
        r"[?&]download=1\b|/download\.aspx\?",
        SharePage(
            "a share page of SharePoint or OneDrive",
            "Share it with anyone who has the link, and use its direct form: the same link with &download=1 "
            "at its end (?download=1 if it has no question mark).",
        ),
    ),
)
"""Hosts, the form of their direct links, and what their other links are.

Sources: the links that these services give out; none of them promises that the forms stay.
"""
