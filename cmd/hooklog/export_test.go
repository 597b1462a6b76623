package main

// Main is main, for the test binary that stands in for hooklog.
func Main() { main() }
