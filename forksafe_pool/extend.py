"""What an integration is built with: a pool for one more driver, or a drop-in for its own pool.

::

    from forksafe_pool import Pool
    from forksafe_pool.extend import Driver

    class EchoDriver(Driver[socket.socket]):
        def is_alive(self, conn):
            return super().is_alive(conn) and answers(conn)

    pool = Pool(driver=EchoDriver(connect), max_size=10)

Most pools need no driver: `Pool` takes the same as callbacks, ``connect``, ``check``, ``reset`` and
so on. A `Driver` is for what these cannot say: which errors speak against the server, when a
connection is in the middle of a reply, how to free an inherited connection.

This module is public and follows the package's version. Modules whose names begin with an
underscore are not, and change without notice.

- `Driver`: how a connection is made, checked, prepared, closed and severed.
- `Lease`: what ``pool.connection()`` returns, to be extended by a pool's ``lease_class``.
- `ProcessLocal`: a value that each process makes for itself. `sentinel`: true in the process that
  asked for it, and false in each that is forked from it.
- `sever`: sever an inherited connection without sending a byte. `Descriptor` remembers
  where a connection's descriptor leads, so that nothing is done to a number that has another owner
  by now; `DeadEnd` is what severed ones lead to.
- `options`: checks of options whose errors name the option, the value and the fix.
"""

from typing import TYPE_CHECKING

from forksafe_pool import _options as options
from forksafe_pool._clock import POOL_TIMEOUT, Deadline, monotonic
from forksafe_pool._driver import Driver
from forksafe_pool._fork.descriptor import Descriptor, find_descriptor, find_socket, owns_descriptor
from forksafe_pool._fork.local import ProcessLocal
from forksafe_pool._fork.sentinel import Sentinel, sentinel
from forksafe_pool._fork.sever import (
    DeadEnd,
    is_readable,
    keep_for_ever,
    own_errors_suppressed,
    sever,
)
from forksafe_pool._lease import Lease

if TYPE_CHECKING:
    from forksafe_pool._options import PoolOptions as PoolOptions

__all__ = [
    "POOL_TIMEOUT",
    "DeadEnd",
    "Deadline",
    "Descriptor",
    "Driver",
    "Lease",
    "ProcessLocal",
    "Sentinel",
    "find_descriptor",
    "find_socket",
    "is_readable",
    "keep_for_ever",
    "monotonic",
    "options",
    "own_errors_suppressed",
    "owns_descriptor",
    "sentinel",
    "sever",
]
