"""The simulated clock: how long training and messages take, which is drawn and computed, never measured."""
