"""The ground floor: settings, errors, database, blobs, accounts, jobs, models, serving, telemetry."""
