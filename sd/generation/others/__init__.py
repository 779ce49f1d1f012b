"""Pictures of other programs: what they tell of how they were made."""
