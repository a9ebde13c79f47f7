package main

// What the searches in internal/model found in the rules.
func init() {
	guards = append(guards,
		guard{"I6 a declaration is never trimmed", "remote/scripts.go",
			"if old[i] ~= 'f' then gone[#gone + 1], top = old[i], score end", "if old[i] ~= 'f' then gone[#gone + 1], top = old[i], score\n if string.sub(old[i], 1, 1) == 'w' then gone[#gone + 1] = 'v' .. string.sub(old[i], 2) end end", "./remote TestADeclarationIsNeverTrimmed"},
		guard{"declarations are bounded", "remote/scripts.go",
			"  if #all <= 1000 then return end\n", "  do return end\n", "./remote TestManyDeclarations"},
		guard{"I6 one declaration may be of all namespaces", "remote/scripts.go",
			"m == 'v*' and 'f' or ", "", "./remote TestManyDeclarations"},
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
