package main

// What holds where messages of changes wait for the next one.
func init() {
	marks = append(marks, []mark{
		{"I6-several-beside-watermark", "false", "./internal/changelog TestI6AMessageOfAnotherHistory"},
		{"several-is-no-other-history", "operand 2", "./internal/changelog TestAMessageOfSeveralChangesFollows"},
		{"I5-change-after-gap", "false", "./internal/changelog TestAChangeIsTold"},
		{"withheld-changes-are-told", "false", "./remote TestValkeyPassesTheBattery/.*/Pace/ChangesThatWait"},
		{"withheld-changes-are-told-embedded", "false", "./internal/embedded TestEmbeddedPassesTheBattery/Pace/ChangesThatWait"},
		{"several-are-told-together", "sub told == last and ARGV[6] or several(log, told, tick) => ARGV[6]", "./remote TestValkeyPassesTheBattery/.*/Pace/TheNextChange"},
		{"several-too-many", "drop", "./remote TestValkeyPassesTheBattery/.*/Pace/WhatIsTooLong"},
		{"several-too-long", "drop", "./remote TestValkeyPassesTheBattery/.*/Pace/WhatIsTooLong"},
		{"pace-after-clock-step", "drop", "./remote TestValkeyPassesTheBattery/.*/Pace/NoMessageWaits"},
		{"pace-after-clock-step-embedded", "false", "./internal/embedded TestEmbeddedPassesTheBattery/Pace/NoMessageWaits"},
		{"pace-of-few-is-none", "drop", "./remote TestValkeyPassesTheBattery/.*/Pace/NoMessageWaits"},
		{"missed-of-the-same-log", "operand 2", "./remote TestValkeyPassesTheBattery/.*/Pace/AChangeIsAnswered"},
		{"missed-of-the-same-log-embedded", "operand 2", "./internal/embedded TestEmbeddedPassesTheBattery/Pace/AChangeIsAnswered"},
	}...)
}
