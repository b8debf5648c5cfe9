"""Why a target is missed, or only just met, by the name of its table."""

SHORT: dict[str, str] = {
    "with-block": (
        "An empty block of a class with `__slots__` and two one-line methods takes half the time "
        "of acquire + release: CPython calls `__enter__` and `__exit__` from C. The block keeps "
        "its slot, which saves a look-up."
    ),
    "get-tcp": (
        "Why it is more than 5 %: a GET takes 105,000 instructions outside the kernel, and 10,000 "
        "of them are the pool's (`valgrind --tool=callgrind python -m bench.redis_get NAME URL N`, "
        "with N = 500 and N = 4,500, with and without the pool). Most of these acquire and release "
        "the connection, in less than twice the time of the core's acquire + release, as the "
        "tables show. They also check what redis-py may have left on a connection (a reply, a "
        "token, a reconnect mark), and whether its metrics are enabled. The others count replies "
        "and check for a fork."
    ),
    "get-unix": "As above, but the GET itself takes less time.",
    "threads-throughput": (
        "All pools come within a tenth of the maximum, which two connections allow that are held "
        "for 0.5 ms plus the overhead of a sleep. The difference between the two fair pools is "
        "smaller than the spread of either."
    ),
    "fork-first-reply": (
        "The child copies each page of memory when it first touches it, so more code takes more "
        "time. A client, inherited or new, runs more code than a bare connection."
    ),
    "memory-pool": (
        "pymemcache's pool consists of two deques and a lock. It has no fork detection, no "
        "statistics and no FIFO queue of waiters."
    ),
    "memory-connection": (
        "The smallest pools store one pointer. Ours stores a slot (the next liveness check, the "
        "expiry, the number of uses) and an entry in the list of connections that a child severs."
    ),
}
