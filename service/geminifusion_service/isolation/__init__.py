"""Work in other processes: decoders and engines, the protocol they speak, and the memory they share."""
