package main

// Reads of a process go forwards.
func init() {
	marks = append(marks,
		mark{"I10-untracked-late-read", "drop", "TestI1NoReadGoesBehindAValuePastItsTTL"},
		mark{"I10-left-call-is-stored", "operand 5", "TestI1NoReadGoesBehindACopyWhoseCallersHaveLeft"},
	)
}
