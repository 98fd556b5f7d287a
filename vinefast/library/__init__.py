"""The library: what vinefast runs on workers.

TaskVine puts this package, as the archive ``vinefast_library.zip``, into a library task's sandbox and has Python run
that: :mod:`.checked`, which goes on to :mod:`.__main__` if this Python will do. The *supervisor*
(:mod:`.supervisor`) speaks TaskVine's pipe protocol and never runs user code; each of its *slots* has one warm child
(:mod:`.child`) that unpacks a bundle, runs its calls and packs the results. A child that dies costs the one call it was
on. :mod:`.once` is the regular mode: one call in one fresh process.

Only the standard library, parsl and dill are imported here, and nothing of the rest of vinefast: a worker's Python
needs neither vinefast nor its compiled core. Imports inside are relative, since the package has two names
(``vinefast.library`` in the repository, ``vinefast_library`` on a worker).
"""
