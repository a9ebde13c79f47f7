package main

func init() {
	guards = append(guards,
		guard{"a bad argument is an error whatever the loader returns", "tier/fill.go",
			"wrong != nil {\n		return nil, nil, 0, badArgument", "wrong != nil && !errors.Is(err, ErrNotFound) {\n		return nil, nil, 0, badArgument", "TestABadArgument"},
		guard{"a bad argument does not tell that nothing is there", "tier/fill.go",
			"fmt.Errorf(\"%w; the loader returned %q\", wrong, err.Error())", "fmt.Errorf(\"%w; the loader returned %w\", wrong, err)", "TestABadArgument"},
		guard{"I2 a view that could not share the entries is refused", "tier/view.go",
			"		if use != nil {\n			return", "		if false {\n			return", "TestViewsOfOneNamespaceAgree"},
		guard{"I2 what WithLocalOnly has kept is not for other views", "tier/view.go",
			"reflect.TypeOf(cfg.codec), cfg.localOnly}", "reflect.TypeOf(cfg.codec), false}", "TestViewsOfOneNamespaceAgree"},
		guard{"I2 views of another kind have entries of another kind", "tier/view.go",
			"		v.kind = nil\n", "		v.shape = shape\n", "TestI2WhatViewsOfAnotherKindHaveLeftIsNotServed/.*/local_only"},
		guard{"I2 a read looks whose entry it is", "tier/read.go",
			"if e == nil || !c.ofType(&e.Value) ||", "if e == nil || e.Value.ns != c.ns ||", "TestI2WhatViewsOfAnotherKind"},
		guard{"I2 a look looks whose entry it is", "tier/peek.go",
			"	if !c.ofType(it) || it.key", "	if it.ns != c.ns || it.key", "TestI2WhatViewsOfAnotherKind"},
		guard{"I2 not found is of a kind too", "tier/judge.go",
			"it.kind == c.kind || it.kind == c.kind.absent }", "it.kind == c.kind || it.negative && it.ns == c.ns }", "TestI2WhatViewsOfAnotherKind"},
	)
}
