package main

// Writes that are given up: rules G1 to G6.
func init() {
	guards = append(guards,
		guard{"G3 the answer is waited for when the caller has gone", "remote/valkey_entries.go",
			"	return run(bound.Limit(ctx), c.tracked, b), nil", "	_ = bound.Limit\n	return run(ctx, c.tracked, b), nil", "TestAWriteWhoseCallerGaveUpTellsWhatHappenedOnTheWire"},
		guard{"G3 what was not sent is called off", "remote/direct.go",
			"	if _, err := h.connection(ctx); err != nil {\n		return unsent", "	if false {\n		var err error\n		return unsent", "TestAWriteThatWaitsForAConnection"},
		guard{"G3 what was not sent is called off, in a cluster", "remote/link.go",
			"	if !l.doubt.Load() {\n", "	if true {\n", "./remote TestNothingIsSentWhileALink"},
		guard{"G4 what was performed is not sent again with the text of its script", "remote/valkey_script.go",
			"	if again == nil {\n", "	if true {\n", "./remote TestWhatWasPerformed"},
	)
}
