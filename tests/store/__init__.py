"""The store, on fakeredis and on every real server there is."""
