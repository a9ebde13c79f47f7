package main

func init() {
	guards = append(guards,
		guard{"a log of a cluster that did not answer is asked for again", "tier/store.go",
			"mono.Now().Sub(begun) > openAgain", "mono.Now().Sub(begun) >= 0", "TestOpenInACluster"},
		guard{"nor is it for ever", "tier/store.go",
			"mono.Now().Sub(begun) > openAgain", "false && mono.Now().Sub(begun) > openAgain", "TestOpenDoesNotAsk"},
		guard{"the only server is asked once", "tier/store.go",
			"!s.sharded || mono.Now()", "mono.Now()", "TestOpenDoesNotAsk"},
	)
}
