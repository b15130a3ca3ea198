"""What people and agents type: parse, call one service, print."""
