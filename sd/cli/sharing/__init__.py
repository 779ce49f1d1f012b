"""The command line of a machine that visitors share."""
