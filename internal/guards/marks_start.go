package main

func init() {
	marks = append(marks,
		mark{"open-fails-at-once", "false", "TestOpenWaitsAsLong"},
		mark{"open-asks-again", "true", "TestOpenWaitsAsLong"},
		mark{"untracked-where-withheld", "false", "TestAStoreDoesWithout"},
		mark{"refusal-is-kept", "false", "TestHealthyMeans"},
		mark{"refusal-ends", "false", "TestHealthyMeans"},
	)
}
