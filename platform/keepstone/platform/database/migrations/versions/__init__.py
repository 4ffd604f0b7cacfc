"""The revisions, in one line from the first to the newest."""
