package main

func init() {
	guards = append(guards,
		guard{"S  what has an inside is not read", "internal/sizeof/plan.go",
			"case holdsInside(t) ||", "case", "./internal/sizeof TestWhatChangesInside"},
		guard{"S  a value that is not read costs what it takes encoded", "tier/write.go",
			"		c.correctGuess(it, len(e.Payload))\n", "", "TestAValueThatCannotBeLookedInto"},
		guard{"S  nor are other packages' unexported fields", "internal/sizeof/plan.go",
			"!standardData[t] && !isData(t)", "!standardData[t] && false", "./internal/sizeof TestWhatChangesInside"},
	)
}
