"""What stands in the way where a target is missed, or hardly met: by the name of its table."""

SHORT: dict[str, str] = {
    "one-thread": (
        "Half of ours is two readings of the clock, two looks at the sentinel and the dict of what "
        "is in use; `queue.LifoQueue`, in Python as well, takes and leaves three locks. To write "
        "`release` out in full as well, without the `_give_back` that it shares with the block, "
        "and to look for a closed pool only where the clock of idle connections strikes, was "
        "tried: 9 % less, `queue.LifoQueue` at 3.02, but the block at 1.77 of the two calls, and "
        "the most delicate lines there twice."
    ),
    "with-block": (
        "An empty block of a class with `__slots__` and two one-line methods takes half of what "
        "acquire + release takes: CPython calls `__enter__` and `__exit__` from C. The block "
        "knows its place, which saves a look-up; with an `__init__`, and through the two public "
        "calls, it took 1.8 times as long as they."
    ),
    "get-tcp": (
        "What is missing to 5 %: a connection taken and given back is 0.8 µs, and counting "
        "replies and asking the sentinel, in the calls that a command makes, 0.3 µs; both were "
        "twice that. Where client and server run on cores of their own, as they mostly do, each "
        "GET takes 20 to 40 µs more, to wake the other, and the difference is within 5 %."
    ),
    "get-unix": "As above; here the GET itself is shorter still.",
    "threads-throughput": (
        "Here a sleep of 0.5 ms takes 0.58: two connections allow no more than 3,460 a second, and "
        "all come within a tenth of it. What lies between the two fair ones is less than the "
        "spread of either."
    ),
    "fork-first-reply": (
        "The child's first touch of each page copies it: the more code runs, the longer it takes. "
        "A client runs more code than a bare connection, its parent's or its own."
    ),
    "flask": (
        "A request takes 0.4 ms, and a faster pool saves 8 µs of it, as GET over TCP shows: 2 %. "
        "The spread, of two workers, eight clients and a server on two cores, is ten times that. "
        "From round to round each of the three comes first."
    ),
    "memory-pool": (
        "A `queue.LifoQueue` is a list, a lock and three conditions, pymemcache's pool two deques "
        "and a lock: neither has a sentinel, statistics or waiters in order."
    ),
    "memory-connection": (
        "The least keep one pointer. Ours keeps a place (when it may be used without a look, when "
        "it expires, how often it was used) and an entry in the list of what a child must sever."
    ),
}
