"""The network's speed against its plain form, inference engines, and a peer of equal weights."""
