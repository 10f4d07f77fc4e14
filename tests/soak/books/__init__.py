"""A soak of order books: every delivered book is compared, level by level, with the venue's own at the same number.

``python -m tests.soak --books --minutes 20 --seed 1``. One feed per venue in a process of its own, without failover,
so that each venue's books are judged all the time. The venues, the faults and the judge run in this process.

- ``plan``: which fault strikes which venue, when and for how long, drawn from the seed alone
- ``subject``: the process with a feed
- ``judge``: compares what a feed delivered with the venue's true books
- ``run``: all of it together, and the table at the end
"""
