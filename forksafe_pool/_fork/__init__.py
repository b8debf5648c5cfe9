"""Fork handling: detect a fork, and sever what was inherited."""
