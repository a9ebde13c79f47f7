package main

func init() {
	guards = append(guards,
		guard{"S  what has an inside is not read", "internal/sizeof/plan.go",
			"case holdsInside(t) ||", "case", "./internal/sizeof TestWhatChangesInside"},
		guard{"S  a value that is not read costs what it takes encoded", "tier/write.go",
			"		c.correctGuess(it, len(e.Payload))\n", "", "TestAValueThatCannotBeLookedInto"},
		guard{"S  nor are other packages' unexported fields", "internal/sizeof/plan.go",
			"!standardData[t] && !isData(t)", "!standardData[t] && false", "./internal/sizeof TestWhatChangesInside"},
		guard{"O  what the client forgets of its connections is closed", "remote/link.go",
			"		l.conns[c] = struct{}{}\n", "", "TestAFailedOpenLeavesNothing/two_standalone"},
		guard{"O  nothing is dialled for a link that has ended", "remote/link.go",
			"	if !l.closed() {\n		l.conns", "	if true {\n		l.conns", "TestAFailedOpenLeavesNothing/(two_standalone|replica_and_primary)"},
		guard{"O  an attempt to connect ends a dialer that hangs", "remote/link.go",
			"stop := context.AfterFunc(l.open, cancel)", "stop := func() bool { return true }", "TestAFailedOpenLeavesNothing/its_own_dialer"},
		guard{"O  a slow server while a store opens", "tier/store.go",
			"		if t := s.following.Load(); t != nil {\n			_ = t.CatchUp", "		if t := s.tail; true {\n			_ = t.CatchUp", "TestAServerThatIsSlowWhile"},
	)
}
