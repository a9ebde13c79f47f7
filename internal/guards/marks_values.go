package main

// The guards of what is done with values.
func init() {
	marks = append(marks,
		mark{"value-that-json-changes", "false", "TestAValueThatJSONWouldChangeIsNotStored"},
		mark{"I1-set-of-unencodable-deletes", "sub c.deleteUnencoded(…) => error(nil)", "TestASetOfAValueThatCannotBeEncodedDeletes"},
		mark{"promoted-methods", "true", "./internal/shape TestTypesThatJSONWouldLose"},
		mark{"text-that-is-not-utf8", "false", "./internal/shape TestValuesThatJSONWouldChange"},
	)
}
