"""Small changes of a network that are learned and weighed apart from it."""
