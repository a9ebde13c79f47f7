package main

// Large values and large batches.
func init() {
	marks = append(marks,
		mark{"deadline-is-for-silence", "drop", "./internal/wire TestALargeAnswer"},
		mark{"async-deadline-is-for-silence", "false", "./internal/wire TestALargeAnswer"},
		mark{"silence-begins-with-request", "false", "./internal/wire TestSilenceBegins"},
		mark{"push-is-no-progress", "true", "./internal/wire TestALittleAndPushes"},
		mark{"range-of-same-version", "sub errNull => errAnswer", "./remote TestAValueThatIsReplaced"},
		mark{"rest-of-same-version", "sub errNull => errAnswer", "./remote TestAValueThatIsReplaced"},
		mark{"rest-with-head", "true", "./remote TestAValueThatIsReplaced"},
		mark{"range-with-head", "false", "./remote TestAValueThatIsReplacedWhile"},
		mark{"sent-ahead-is-whole", "false", "./remote TestWhatIsEvicted"},
		mark{"busy-heartbeat-is-no-failure", "operand 3", "./tier/internal/breaker TestALateHeartbeat"},
		mark{"lease-lasts-while-sent-ahead", "false", "./remote TestALeaseIsRenewed"},
		mark{"silent-piece-is-the-last", "true", "TestAPieceWithoutAnAnswer"},
		mark{"silent-piece-is-asked-again", "true", "TestAPieceWithoutAnAnswer"},
		mark{"silent-pieces-of-writes-end-them", "operand 1", "TestWhatWasStoredOfABatch"},
		mark{"silent-piece-of-deletes-is-sent-again", "false", "TestAPieceOfWritesWithout"},
		mark{"silent-piece-of-fills-is-not-the-last", "or err != nil", "TestAPieceOfWritesWithout"},
		mark{"I1-parts-of-change-stay-pending", "drop", "TestPartsOfAChange"},
		mark{"largest-value", "false", "TestAValueAboveTheLimit"},
		mark{"largest-local-value", "false", "TestAValueAboveAnEighth"},
		mark{"observe-load-after-answer", "sub defer l.told => l.told", "TestAnObserverReads"},
		mark{"close-from-inside", "false", "TestCloseFromInside"},
	)
}
