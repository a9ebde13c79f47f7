package main

// Of the format of entries.
func init() {
	guards = append(guards,
		guard{"I9 the check of an entry's head", "internal/envelope/envelope.go",
			"if uint32(xxh3.HashString(raw[:checkAt])) != uint32At(raw[checkAt:]) {", "if false {", "./internal/envelope TestEveryDamage"},
		guard{"I9 an entry of another version is not read", "internal/envelope/envelope.go",
			"case raw[versionAt] != version:", "case false:", "./internal/envelope TestWhatIsOfAnother|TestTheCorpus"},
		guard{"I9 a flag that is not known is not ignored", "internal/envelope/envelope.go",
			"case flags&^knownFlags != 0:", "case false:", "./internal/envelope TestWhatIsOfAnother"},
		guard{"I9 a field that must be understood is not skipped", "internal/envelope/envelope.go",
			"case tag&mustUnderstand != 0:", "case false:", "./internal/envelope TestWhatIsOfAnother"},
		guard{"I9 no field appears twice", "internal/envelope/envelope.go",
			"if tag&^mustUnderstand <= last {", "if false {", "./internal/envelope TestWhatIsHostile"},
		guard{"I9 a field holds one number", "internal/envelope/envelope.go",
			"value.bad || value.rest != \"\"; r.bad {", "value.bad; r.bad {", "./internal/envelope TestWhatIsHostile"},
		guard{"I9 the length of a validator", "internal/envelope/envelope.go",
			" || len(e.Validator) > MaxValidator\n", "\n", "./internal/envelope TestWhatIsHostile"},
		guard{"I9 a stored cost is bounded", "tier/judge.go",
			"f.cost = envelope.StatedCost(e.Cost, int64(max(stored, len(e.Payload))))", "f.cost = e.Cost", "TestAStatedCost"},
		guard{"a stated cost is stored", "tier/write.go",
			"Life: kept, Cost: cost,", "Life: kept,", "TestAStatedCost"},
		guard{"an entry of version 1 is no damage", "internal/envelope/envelope.go",
			"if isVersion1(raw) {", "if false {", "./internal/envelope TestWhatIsOfAnother"},
		guard{"an entry of another format is no damage", "tier/judge.go",
			"case errors.Is(err, envelope.ErrFormat):", "case false && errors.Is(err, envelope.ErrFormat):", "TestTwoReleases"},
		guard{"I9 what is viewed has memory of its own", "tier/typed.go",
			"const viewFrom = resp.OwnText", "const viewFrom = 256 + 0*resp.OwnText", "TestStringsThatWere|TestAStringThatIsKept"},
	)
}
