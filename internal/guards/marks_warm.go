package main

func init() {
	marks = append(marks, []mark{
		{"I10-warm-read-beside-call", "operand 2", "TestI10AWarmRead.*/refreshed"},
		{"I10-untracked-warm-read", "sub += 2 => += 0", "TestI10AWarmRead.*/peeked"},
	}...)
}
