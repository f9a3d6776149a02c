"""Pure delivery state: what is waiting, in which order, and when to try again. No trio, no clock, no dice."""
