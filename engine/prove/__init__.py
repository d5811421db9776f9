"""Shows that no forecast of a spec looks past its cutoff: changes the future, nothing may move."""
