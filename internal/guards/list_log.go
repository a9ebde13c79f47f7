package main

// Guards of the change log: what stands in it, what it forgets, and what may have
// happened to its server.
func init() {
	guards = append(guards,
		guard{"I6 a flush notice may be of a rollback", "remote/valkey.go",
			"		c.histories.flushed()\n", "", "TestI6ARollback"},
		guard{"I6 a server that has counted less went back", "remote/valkey_history.go",
			"counted && s.counters.behind(before) && q.place == h.place", "counted && before.behind(before)", "TestI6ARollback"},
		guard{"I6 a server of a cluster that has counted less went back", "remote/valkey_probe.go",
			"k.c.histories.use(before, of)", "_ = of", "TestI6ARollbackOfOne"},
		guard{"I6 what was read before a rollback was told is read again", "remote/valkey_history.go",
			"return d, !d.back && known", "return d, known", "TestI6ARollback"},
		guard{"a rollback is told once by each process", "remote/valkey_history.go",
			"d.told != h.backs[d.history])", "false)", "./remote TestOneProcessTells"},
		guard{"I6 what others have told of a rollback may be of another", "remote/valkey_history.go",
			"(!d.back || d.flushes <= h.handled && d.told != h.backs[d.history])", "true", "./remote TestEachProcessTells"},
		guard{"I6 two flushes may be two rollbacks", "remote/valkey_history.go",
			"d.flushes <= h.handled && ", "", "./remote TestOneProcessTells"},
		guard{"answers that cross each other tell of no rollback", "remote/valkey_history.go",
			"before, counted := q.counted[s.history]", "before, counted := h.counted[s.history]", "./remote TestCountersThat"},
		guard{"I6 commands are counted over a new connection", "remote/valkey_history.go",
			"h.dials != dials ||", "", "./remote TestCommandsAre"},
		guard{"I2 who was silent for long believes no copy", "remote/valkey_enrol.go",
			"if e.sent != 0 && now.Sub(e.sent) > enrolledFor {", "if false {", "./remote TestAnEnrolment"},
	)
}
