package main

// What the server refuses while it performs others.
func init() {
	marks = append(marks,
		mark{"replaced-is-no-refusal", "operand 1", "./tier/internal/breaker TestAnEntryThatIsReplaced"},
		mark{"refusal-of-large-reads", "false", "TestRefusalsOfLargeValues"},
		mark{"refusal-of-large-writes", "false", "TestRefusalsOfLargeValues"},
		mark{"refusal-of-changes", "drop", "TestRefusalsOfLargeValues"},
	)
}
