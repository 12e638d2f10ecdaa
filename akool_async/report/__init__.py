"""A report of a journal as static pages: what is saved, what it cost, what failed, each video by itself.

Needs `akool-async[cli]`: jinja2 makes the pages, pysubs2 reads subtitles.
"""

from akool_async._environment import needs_extra

with needs_extra("cli", "Reports"):
    from akool_async.report.model import Report, ReportEntry
    from akool_async.report.pages import ReportFolder

__all__ = ["Report", "ReportEntry", "ReportFolder"]
