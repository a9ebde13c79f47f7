package main

func init() {
	marks = append(marks, []mark{
		{"V1-suspend", "false", "TestALostConnectionSuspends/embedded"},
		{"V2-log-epoch", "sub  && f.Epoch != v.LogEpoch() =>", "TestWhatTheLogTellsOfIsNotSuspended"},
		{"V2-marks-discarded", "sub t.generation.Add(1) => min(t.generation.Add(1), 0)", "TestI2WhatTheLogTellsOfIsNotBelieved"},
		{"V3-same-write", "operand 2", "TestI2ASuspendedCopyThatChanged/set"},
		{"V3-beside-link", "operand 3", "TestI2ACopyBeside"},
		{"V3-delta-first", "operand 2", "TestI2ASuspendedCopyIsJudgedBy"},
		{"V3-judge-again", "false", "TestI2ASuspendedCopyThatChanged.*/source"},
		{"V3-register", "drop", "TestI2AProofThatAnInvalidation.*/set"},
		{"V3-overtaken-proof", "operand 1", "TestI2AProofThatAnInvalidation.*/set"},
		{"V3-same-copy", "operand 2", "TestI10AProofBringsNoCopyBack"},
		{"V3-same-epoch", "sub v.Epoch => b.Session.Tail.View().Epoch", "TestI2AProofThatAnInvalidation.*/connection"},
		{"V3-owes-nothing", "sub = false => = was.ExpectsOwnEcho", "TestI2ASuspendedCopyExpectsNoEcho"},
		{"R9-overtaken-warm-read", "operand 1", "TestI2AWarmRead.*/set"},
		{"V6-paced", "operand 1", "TestRevalidationInTheBackgroundIsPaced"},
	}...)
}
