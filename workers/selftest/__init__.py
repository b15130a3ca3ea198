"""The selftest: promises tried on the user's own Redis, while processes are killed, frozen and cut off.

`proxy` stands between a client and the server and breaks their connection on purpose; `links` are what it carries.
`agent` is a process that works, `history` what it writes down, `check` what all histories together prove.
"""
