"""Black box: what a run read, computed and sent, tick by tick, in an MCAP file, and the run repeated from it."""
