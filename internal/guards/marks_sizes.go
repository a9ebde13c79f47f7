package main

// The guards of what live objects and slices of one array count.
func init() {
	marks = append(marks,
		mark{"sizeof-most-of-a-struct", "sub mostUnread => 1 << 20", "./internal/sizeof TestAGuessIsAsStated"},
		mark{"sizeof-slices-of-one-array", "sub w.ends[end] => int64(0)", "./internal/sizeof TestSlicesOfOneArray"},
		mark{"sizeof-in-use", "drop", "TestWhatLiveObjectsTake"},
	)
}
