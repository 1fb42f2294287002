"""What hardware costs and can hold, as data: every number with its source."""
