"""Watched sources: folders and stores of other kinds that a collection takes its files from by itself.

    source = sources.add(principal, "docs", "s3://company/manuals")     # or a folder, such as /srv/manuals
    sources.sync(principal, "docs", source.name)                        # now; else every `sources.every_minutes`

What is new or has changed is ingested, and what has vanished is deleted; a source that does not answer, or is suddenly
empty, deletes nothing.
"""

from keepstone.retrieval.sources.service import SourceInfo, SourceProblem, Sources

__all__ = ["SourceInfo", "SourceProblem", "Sources"]
