package main

// The guards of what live objects and slices of one array count, of leases in pieces, and of embedded pointers.
func init() {
	marks = append(marks,
		mark{"sizeof-most-of-a-struct", "sub mostUnread => 1 << 20", "./internal/sizeof TestAGuessIsAsStated"},
		mark{"sizeof-slices-of-one-array", "sub w.ends[end] => int64(0)", "./internal/sizeof TestSlicesOfOneArray"},
		mark{"sizeof-in-use", "drop", "TestWhatLiveObjectsTake"},
		mark{"promoted-by-pointer", "false", "./internal/shape TestTypesThatJSONWouldLose"},
		mark{"path-of-bounded-length", "false", "./internal/shape TestValuesThatHold"},
		mark{"silent-piece-of-leases-is-asked-again", "false", "TestAPieceOfLeases"},
		mark{"silent-piece-of-each-is-not-the-last", "or err != nil", "TestAPieceOfReleases"},
	)
}
