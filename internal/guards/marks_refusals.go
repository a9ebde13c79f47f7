package main

// What the server refuses while it performs others.
func init() {
	marks = append(marks,
		mark{"replaced-is-no-refusal", "operand 1", "./tier/internal/breaker TestAnEntryThatIsReplaced"},
		mark{"refusal-of-large-reads", "false", "TestRefusalsOfLargeValues"},
		mark{"refusal-of-large-writes", "false", "TestRefusalsOfLargeValues"},
		mark{"refusal-of-changes", "drop", "TestRefusalsOfLargeValues"},
		mark{"refused-get-of-lease-is-error", "false", "TestHealthyMeansThatEachKind"},
		mark{"refusal-lasts-a-second", "false", "./tier/internal/breaker TestARefusalIsOneUntil"},
		mark{"refusal-of-one-server", "false", "./tier/internal/breaker TestWhatOneServerOfACluster"},
		mark{"refusal-of-server-that-is-gone", "false", "./tier/internal/breaker TestWhatAServerRefusedThat"},
		mark{"state-ends-for-all-kinds", "operand 2", "./tier/internal/breaker TestAStateOfTheServerEnds"},
		mark{"value-is-no-lease", "false", "./tier/internal/breaker TestAValueThatCame"},
		mark{"loss-is-logged-once", "operand 1", "./internal/changelog TestALogThatIsLostAtOnce"},
	)
}
