"""What stands in the way where a target is missed, or hardly met: by the name of its table."""

SHORT: dict[str, str] = {
    "with-block": (
        "An empty block of a class with `__slots__` and two one-line methods takes half of what "
        "acquire + release takes: CPython calls `__enter__` and `__exit__` from C. The block "
        "knows its place, which saves a look-up."
    ),
    "get-tcp": (
        "What is missing to 5 %: of the 105,000 instructions that a GET takes outside the kernel "
        "10,000 are the pool's (`valgrind --tool=callgrind python -m bench.redis_get NAME URL N`, "
        "for an N of 500 and of 4,500, with and without it). Most of them take the connection and "
        "give it back, in less than twice what the core's acquire + release takes, as the tables "
        "show; what comes on top asks what redis-py may have left on a connection (a reply, a "
        "token, a mark), and whether anybody listens to its metrics. The rest counts replies and "
        "asks the sentinel."
    ),
    "get-unix": "As above; here the GET itself is shorter still.",
    "threads-throughput": (
        "Two connections, each held for 0.5 ms and what a sleep takes longer, allow no more: all "
        "come within a tenth of it. What lies between the two fair ones is less than the spread "
        "of either."
    ),
    "fork-first-reply": (
        "The child's first touch of each page copies it: the more code runs, the longer it takes. "
        "A client runs more code than a bare connection, its parent's or its own."
    ),
    "memory-pool": (
        "pymemcache's pool is two deques and a lock: it has no sentinel, no statistics and no "
        "waiters in order."
    ),
    "memory-connection": (
        "The least keep one pointer. Ours keeps a place (when it may be used without a look, when "
        "it expires, how often it was used) and an entry in the list of what a child must sever."
    ),
}
