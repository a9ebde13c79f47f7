package main

// What the searches in internal/model found in the rules.
func init() {
	guards = append(guards,
		guard{"G1 a write goes to the server whose clock bounds it", "remote/valkey_entries.go",
			"by>>dialsFrom != c.dials.Load() {", "false {", "./remote TestAWriteIsSentToTheServer"},
	)
}
