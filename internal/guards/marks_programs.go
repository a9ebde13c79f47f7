package main

func init() {
	marks = append(marks,
		mark{"encoding-was-forgotten", "operand 2", "./tier/internal/encodings TestAnother"},
		mark{"encoding-counts-from-when-it-was-seen", "sub shape, now => shape, written", "./tier/internal/encodings TestAnother"},
		mark{"encoding-is-of-now", "operand 2", "./tier/internal/encodings TestAnother"},
		mark{"I2-outage-load-in-log", "operand 2", "TestI2WhatWasLoadedInAnOutage"},
	)
}
