"""Long work that outlives its process: durable steps, progress, cancelling, retrying."""

from keepstone.platform.jobs.base import Abandoned, JobInfo, JobKind
from keepstone.platform.jobs.service import Jobs, open_jobs

__all__ = ["Abandoned", "JobInfo", "JobKind", "Jobs", "open_jobs"]
