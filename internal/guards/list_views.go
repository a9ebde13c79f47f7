package main

func init() {
	guards = append(guards,
		guard{"a bad argument is an error whatever the loader returns", "tier/fill.go",
			"wrong != nil {\n		return nil, nil, 0, badArgument", "wrong != nil && !errors.Is(err, ErrNotFound) {\n		return nil, nil, 0, badArgument", "TestABadArgument"},
		guard{"a bad argument does not tell that nothing is there", "tier/fill.go",
			"fmt.Errorf(\"%w; the loader returned %q\", wrong, err.Error())", "fmt.Errorf(\"%w; the loader returned %w\", wrong, err)", "TestABadArgument"},
	)
}
