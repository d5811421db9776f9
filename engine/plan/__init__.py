"""What a run will take, found out beforehand by fitting each model to a few series."""
