"""Back ends: a SpikingGraph to a file, and a file to a SpikingGraph."""
