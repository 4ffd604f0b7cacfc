"""The command line. Heavy libraries are imported inside the commands, so that `keepstone --help` answers at once."""
