"""A soak of order books: every delivered book is compared, level by level, with the venue's book of the same number.

``python -m tests.soak --books --minutes 20 --seed 1``. Each venue has a feed in a process of its own, without
failover, so that each venue's books are checked all the time. The venues, the faults and the judge run in this process.

- ``plan``: which venue has which fault, when and for how long, drawn from the seed alone
- ``subject``: the process with a feed
- ``judge``: compares the delivered books with the venue's true books
- ``run``: starts and runs all parts, and makes the table at the end
"""
