"""``make demo``: what a fork does to one shared connection, and what it does to a pool of ours."""
