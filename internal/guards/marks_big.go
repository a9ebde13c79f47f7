package main

// Large values and large batches.
func init() {
	marks = append(marks,
		mark{"deadline-is-for-silence", "drop", "./internal/wire TestALargeAnswer"},
		mark{"async-deadline-is-for-silence", "false", "./internal/wire TestALargeAnswer"},
		mark{"silence-begins-with-request", "false", "./internal/wire TestSilenceBegins"},
		mark{"push-is-no-progress", "true", "./internal/wire TestALittleAndPushes"},
	)
}
