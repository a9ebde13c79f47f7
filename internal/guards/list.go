package main

// guards, in the order of the invariants they hold up.
var guards = []guard{}
