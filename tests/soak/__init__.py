"""A soak: one feed runs for hours over venues that fail at random, and a referee compares its events with theirs.

``python -m tests.soak --minutes 60 --seed 1``. The feed runs in a process of its own, which does nothing but pass on
its events; the venues, the faults and the referee run in this one. So that process has only the feed's memory, tasks
and sockets, and the referee's data does not count as a leak of the feed.

- ``plan``: which venue has which fault, when and for how long, drawn from the seed alone
- ``subject``: the process with the feed
- ``referee``: compares the feed's events with the venues' true ones
- ``truth``: the venues' true events
- ``run``: starts and runs all parts; ``report``: the table at the end
"""
