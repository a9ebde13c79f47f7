package main

// What the searches in internal/model found in the rules.
func init() {
	guards = append(guards,
		guard{"I6 a declaration is never trimmed", "remote/scripts.go",
			"if old[i] ~= 'f' then gone[#gone + 1], top = old[i], score end", "if old[i] ~= 'f' then gone[#gone + 1], top = old[i], score\n if string.sub(old[i], 1, 1) == 'w' then gone[#gone + 1] = 'v' .. string.sub(old[i], 2) end end", "./remote TestADeclarationIsNeverTrimmed"},
		guard{"declarations are bounded", "remote/scripts.go",
			"  if #all <= 1000 then return end\n", "  do return end\n", "./remote TestManyDeclarations"},
		guard{"I6 one declaration may be of all namespaces", "remote/scripts.go",
			"m == 'v*' and 'f' or ", "", "./remote TestManyDeclarations"},
	)
}
