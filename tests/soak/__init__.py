"""A soak: one feed runs for hours over venues that fail at random, and a referee checks the feed's events.

``python -m tests.soak --minutes 60 --seed 1``. The feed runs in a process of its own, which does nothing but pass on
the feed's events; the venues, the faults and the referee run in the main process. So the feed's process has only the
feed's memory, tasks and sockets, and the referee's data does not count as a leak of the feed.

- ``plan``: which venue has which fault, when and for how long, drawn from the seed alone
- ``subject``: the process with the feed
- ``referee``: compares the feed's events with the venues' true events
- ``truth``: the venues' true events
- ``run``: starts and runs all parts; ``report``: the table at the end
"""
