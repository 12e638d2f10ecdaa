"""The file hosts: results are fetched by a client of its own that knows no credentials.

A file gets its name only when all of it is there.
"""

from akool_async._download.delivery import AWAY, Delivery, Parcel
from akool_async._download.disk import NameInUse, NameTaken
from akool_async._download.downloads import Downloads
from akool_async._download.limits import Limits

__all__ = ["AWAY", "Delivery", "Downloads", "Limits", "NameInUse", "NameTaken", "Parcel"]
