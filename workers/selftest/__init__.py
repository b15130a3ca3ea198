"""`coord selftest`: promises tried on the user's own Redis, while processes are killed, frozen and cut off.

`run` is the play from beginning to end, in a `namespace` and a `folder` of its own: `cast` are its processes (`agent`
pulls, `pushed` is a worker), `feeding` hands out work, `faults` breaks them, `proxy` stands between each and the server
(`links` are what it carries, `addresses` where it leads). Agents write down a `history`, a `follower` reads events;
`check` says what all of that proves, `measures` how fast it was, `judging` puts the report together.
"""
