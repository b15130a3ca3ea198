"""What runs in the background: RQ workers, runners, guard, ticker."""
