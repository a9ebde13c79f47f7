package main

// The guards of what is done with values.
func init() {
	marks = append(marks,
		mark{"value-that-json-changes", "false", "TestAValueThatJSONWouldChangeIsNotStored"},
		mark{"I1-set-of-unencodable-deletes", "sub c.deleteUnencoded(…) => error(nil)", "TestASetOfAValueThatCannotBeEncodedDeletes"},
		mark{"promoted-methods", "true", "./internal/shape TestTypesThatJSONWouldLose"},
		mark{"text-that-is-not-utf8", "false", "./internal/shape TestValuesThatJSONWouldChange"},
		mark{"sizeof-beyond-length", "sub w.elements(v) => w.elements(v.Slice(0, v.Cap()))", "./internal/sizeof TestWhatLiesBeyond"},
		mark{"sizeof-pointer-to-lock", "sub p := t.Elem().PkgPath() => p := \"\"", "./internal/sizeof TestWhatALockBehind"},
		mark{"store-estimated-cost", "false", "TestTheSizeTravels"},
	)
}
