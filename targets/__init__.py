"""Targets: run an exported file, compare the spikes, estimate the energy."""
