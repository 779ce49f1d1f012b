"""What people add to a published model: LoRA and textual inversions, read from their files."""
