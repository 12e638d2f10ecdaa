"""Links that people share instead of files."""

from __future__ import annotations

import pytest

from akool_async._model.share_pages import find_share_page

ID = "1aBcD_efGhIjKlMnOpQrStUvWx-yz"
PAGES = [
    (f"https://drive.google.com/file/d/{ID}/view?usp=sharing", "Google Drive", f"download?id={ID}&export"),
    (f"https://drive.google.com/open?id={ID}", "Google Drive", f"download?id={ID}&export"),
    (f"https://docs.google.com/file/d/{ID}/edit", "Google Drive", f"download?id={ID}&export"),
    ("https://drive.google.com/drive/folders/x", "Google Drive", "Share the file itself"),
    ("https://www.youtube.com/watch?v=dQw4w9WgXcQ", "YouTube", "Upload the original"),
    ("https://youtu.be/dQw4w9WgXcQ?t=3", "YouTube", "Upload the original"),
    ("https://m.youtube.com/shorts/abc", "YouTube", "Upload the original"),
    ("https://vimeo.com/76979871", "Vimeo", "progressive_redirect"),
    ("https://player.vimeo.com/video/76979871", "Vimeo", "progressive_redirect"),
    ("https://www.dropbox.com/scl/fi/abc/talk.mp4?rlkey=x&dl=0", "Dropbox", "dl=1"),
    ("https://www.dropbox.com/s/abc/talk.mp4", "Dropbox", "dl=1"),
    ("https://contoso.sharepoint.com/:v:/s/team/EaBc?e=x", "SharePoint", "download=1"),
    ("https://contoso-my.sharepoint.com/personal/me/talk.mp4", "SharePoint", "download=1"),
    ("https://1drv.ms/v/s!abc", "OneDrive", "download=1"),
]


@pytest.mark.parametrize(("url", "name", "advice"), PAGES)
def test_a_share_page_is_named_with_its_direct_form(url: str, name: str, advice: str) -> None:
    page = find_share_page(url)

    assert page is not None
    assert name in page.name
    assert advice in page.advice
    assert "FILE_ID" not in page.advice or "folders" in url


@pytest.mark.parametrize(
    "url",
    [
        f"https://drive.google.com/uc?export=download&id={ID}",
        f"https://drive.usercontent.google.com/download?id={ID}&export=download&confirm=t",
        "https://player.vimeo.com/progressive_redirect/playback/1/rendition/720p/file.mp4?loc=external",
        "https://www.dropbox.com/scl/fi/abc/talk.mp4?rlkey=x&dl=1",
        "https://dl.dropboxusercontent.com/s/abc/talk.mp4",
        "https://contoso.sharepoint.com/:v:/s/team/EaBc?e=x&download=1",
        "https://contoso.sharepoint.com/_layouts/15/download.aspx?share=EaBc",
        "https://youtube.com.evil.example/watch",
        "https://notyoutube.com/watch",
        "https://cdn.example.com/youtube.com/talk.mp4",
        "http://[::1",
    ],
)
def test_a_direct_link_is_none(url: str) -> None:
    assert find_share_page(url) is None
