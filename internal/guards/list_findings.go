package main

// What the searches in internal/model found in the rules.
func init() {
	guards = append(guards,
		guard{"I6 another log is told at once what was declared", "invalidation/apply.go",
			"	t.declareAgainLocked(d.Histories)\n", "	clear(t.mu.declared)\n", "./invalidation TestAnotherLogIsTold"},
		guard{"I6 a server that came before another log was told", "invalidation/declared.go",
			"d.tick, d.absent, d.histories = 0, true, histories", "d.tick, d.absent, d.histories = 0, true, histories+1000", "./invalidation TestAnotherLogIsTold"},
		guard{"I1 a flush notice ends the proof", "invalidation/apply.go",
			"	v.Epoch++\n	v.Proof = 0\n", "	v.Epoch++\n", "TestI1AFlushNoticeEndsTheProof"},
		guard{"I1 what a flush notice overtook is judged by a delta", "tier/proof.go",
			"return s.tail.View().Epoch != v.Epoch || shard.Gone()", "return false", "TestI1WhatAFlushNotice"},
		guard{"G1 a new connection is asked for its server's clock", "tier/window.go",
			"if v.Proof != 0 || s.conn.away() != nil {", "if true {", "TestI1AWriteOverANewConnection"},
		guard{"G1 a write goes to the server whose clock bounds it", "remote/valkey_entries.go",
			"by>>dialsFrom != c.dials.Load() {", "false {", "./remote TestAWriteIsSentToTheServer"},
	)
}
