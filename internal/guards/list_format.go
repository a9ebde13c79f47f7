package main

// Of the format of entries.
func init() {
	guards = append(guards)
}
