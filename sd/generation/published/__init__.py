"""Models that others published, as a home knows them: files that were opened, what they are."""
