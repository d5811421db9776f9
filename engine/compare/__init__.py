"""What two runs differ in: their inputs, their scores, and whether that is more than chance."""
