package main

func init() {
	marks = append(marks, []mark{
		{"S1-same-step", "drop", "TestAChangeSettlesThough"},
		{"S2-first-delta", "false", "./internal/changelog TestAProcessThatStartsWhile"},
		{"S2-heard-by-own-clock", "true", "./internal/changelog TestAChangeThatIsHeardOfLate"},
		{"S3-limit", "false", "./internal/changelog TestWhatIsLoadedBefore"},
		{"S3-early", "sub h.early.Add(u.lag), =>", "./internal/changelog TestAChangeThatIsHeardOfLate"},
		{"S3-from-begin", "sub r.begun => mono.Now()", "TestALoadThatBeganBefore"},
		{"S3-stale-within-life", "sub min(it.Meta().Fresh.Add(window), it.Meta().Expires) => it.Meta().Fresh.Add(window)", "TestAStaleValueEnds"},
		{"S3-unknown-asks-log", "drop", "./internal/changelog TestAChangeThatWasForgotten"},
		{"S3-trimmed-before-settled", "false", "./remote TestValkeyPassesTheBattery/.*/.*/ALogTellsAfterWhichLags"},
		{"S3-trimmed-before-settled-embedded", "false", "./internal/embedded TestEmbeddedPassesTheBattery$/.*/ALogTellsAfterWhichLags"},
		{"S4-caller-after-end", "false", "TestALoadThatBeganBefore"},
		{"S4-caller-after-end-of-entry", "false", "TestAReadThatBeganBefore"},
		{"S5-record-in-new-log", "drop", "./internal/changelog TestAChangeThatHasNotSettled"},
		{"S6-as-of-time", "sub c.s.Session.Tail.Begun(asOf, begun) => begun", "TestASetOfWhat"},
		{"expired-copies-leave", "false", "TestWhatHasExpiredLeaves"},
		{"invalidated-copies-leave", "false", "TestWhatWasInvalidatedLeaves"},
		{"nothing-to-sweep", "false", "./tier/internal/sweep TestASweepLooksOnly"},
		{"sweep-takes-out-what-it-saw", "sub s.Local.RemoveEntry(e) => s.Local.Remove(e.Key())", "./tier/internal/sweep TestASweepTakesOut"},
		{"namespace-of-same-path", "false", "./tier/internal/spaces TestTheCleanup"},
		{"drain-waits-for-changes", "true", "TestDrain"},
		{"drain-waits-for-fills", "zero error", "TestDrain"},
		{"close-tells-what-it-gave-up", "drop", "TestDrain"},
	}...)
}
