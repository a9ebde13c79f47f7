package main

func init() {
	marks = append(marks,
		mark{"open-fails-at-once", "false", "TestOpenWaitsAsLong"},
		mark{"open-asks-again", "true", "TestOpenWaitsAsLong"},
		mark{"untracked-where-withheld", "false", "TestAStoreDoesWithout"},
		mark{"refusal-is-kept", "false", "TestHealthyMeans"},
		mark{"refusal-ends", "false", "TestHealthyMeans"},
		mark{"brief-without-failures", "operand 1", "TestAStoreWithPendingChangesIsNotIdle"},
		mark{"brief-without-silence", "operand 3", "TestAStoreOutlivesItsServer"},
		mark{"offline-fails-for-good", "operand 1", "TestStartingOfflineHidesNoMistake"},
		mark{"stranger-beside-log", "operand 3", "./internal/changelog TestAStranger"},
		mark{"stall-is-no-outage", "operand 1", "TestAStallIsNoOutage"},
		mark{"stall-is-not-logged", "operand 3", "TestAStallIsNoOutage"},
	)
}
