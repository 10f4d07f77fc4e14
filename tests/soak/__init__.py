"""A soak: one feed runs for hours over venues that fail at random, and a referee compares its events with theirs.

``python -m tests.soak --minutes 60 --seed 1``. The feed runs in a process of its own, which does nothing but pass on
what it was told; the venues, the faults and the referee run in this one. So the feed's memory, tasks and sockets are
its own, and the referee's books don't count as its leaks.

- ``plan``: which fault strikes which venue, when and for how long, drawn from the seed alone
- ``subject``: the process with the feed
- ``referee``: compares what the feed delivered with what the venues did
- ``truth``: what the venues did
- ``run``: all of it together; ``report``: the table at the end
"""
