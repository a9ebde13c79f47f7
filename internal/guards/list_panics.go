package main

func init() {
	guards = append(guards,
		guard{"O  what the client forgets of its connections is closed", "remote/link.go",
			"		l.conns[c] = struct{}{}\n", "", "TestAFailedOpenLeavesNothing/two_standalone"},
		guard{"O  nothing is dialled for a link that has ended", "remote/link.go",
			"	if !l.closed() {\n		l.conns", "	if true {\n		l.conns", "TestAFailedOpenLeavesNothing/(two_standalone|replica_and_primary)"},
		guard{"O  an attempt to connect ends a dialer that hangs", "remote/link.go",
			"stop := context.AfterFunc(l.open, cancel)", "stop := func() bool { return true }", "TestAFailedOpenLeavesNothing/its_own_dialer"},
		guard{"P  reading a connection recovers", "internal/wire/read.go",
			"	defer c.recovered(\"reading a connection\")\n", "", "./internal/wire TestAPanic"},
		guard{"P  a callback recovers", "internal/wire/conn.go",
			"	defer c.recovered(\"a callback of a connection\")\n", "", "./internal/wire TestAPanic"},
		guard{"P  what panics is no longer used", "internal/wire/conn.go",
			"		c.o.Panics.Report(where, p)\n		c.fail(recovery.ErrPanicked)\n", "		c.o.Panics.Report(where, p)\n", "./internal/wire TestAPanic"},
		guard{"P  a panic beneath leaves nothing locked", "internal/wire/conn.go",
			"	c.mu.Unlock()\n	defer c.mu.Lock()\n	f()\n", "	c.mu.Unlock()\n	f()\n	c.mu.Lock()\n", "./internal/wire TestAPanic"},
		guard{"P  an asking caller that panics ends the connection", "internal/wire/conn.go",
			"	if !*done {\n", "	if false {\n", "./internal/wire TestAPanic"},
		guard{"P  writing for the client recovers", "remote/link.go",
			"	defer c.l.panics.Recover(\"writing for the client\", func() { _ = c.Close() })\n", "", "./remote TestAPanic"},
		guard{"P  dialling recovers", "remote/valkey.go",
			"		defer l.panics.Recover(\"dialling\",", "		defer func(string, func()) {}(\"dialling\",", "./remote TestAPanic"},
	)
}
