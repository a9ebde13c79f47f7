package main

// Of the format of entries.
func init() {
	guards = append(guards,
		guard{"I9 a stored cost is bounded", "tier/judge.go",
			"f.cost = envelope.StatedCost(e.Cost, int64(max(stored, len(e.Payload))))", "f.cost = e.Cost", "TestAStatedCost"},
		guard{"a stated cost is stored", "tier/write.go",
			"Life: kept, Cost: cost,", "Life: kept,", "TestAStatedCost"},
		guard{"an entry of another format is no damage", "tier/judge.go",
			"case errors.Is(err, envelope.ErrFormat):", "case false && errors.Is(err, envelope.ErrFormat):", "TestTwoReleases"},
		guard{"I9 what is viewed has memory of its own", "tier/typed.go",
			"const viewFrom = wire.OwnText", "const viewFrom = 256 + 0*wire.OwnText", "TestStringsThatWere|TestAStringThatIsKept"},
	)
}
