package rules

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// saidBy is what the licence file of a module has to say for the README to call it so.
var saidBy = map[string]*regexp.Regexp{
	"Apache 2.0":   regexp.MustCompile(`Apache License[,\s]+Version 2\.0`),
	"MPL 2.0":      regexp.MustCompile(`Mozilla Public License, version 2\.0`),
	"MIT":          regexp.MustCompile(`Permission is hereby granted, free of charge`),
	"BSD 2-Clause": regexp.MustCompile(`(?s)Redistribution and use in source and binary forms.*Redistributions in binary form`),
	"BSD 3-Clause": regexp.MustCompile(`(?s)Redistribution and use in source and binary forms.*Neither the name of`),
}

func TestTheREADMEListsTheDependenciesOfGoMod(t *testing.T) {
	rows := regexp.MustCompile("(?m)^\\| `([^`]+\\.[^`]+/[^`]+)` \\| (v\\S+) \\| ([^|]+) \\|").FindAllStringSubmatch(read(t, "README.md"), -1)
	required := regexp.MustCompile(`(?m)^\s+(\S+) (v\S+)(?: // indirect)?$`).FindAllStringSubmatch(read(t, "go.mod"), -1)
	require.NotEmpty(t, required)
	versions, listed := make(map[string]string), make(map[string]string)
	for _, m := range required {
		versions[m[1]] = m[2]
	}
	for _, row := range rows {
		listed[row[1]] = row[2]
	}
	assert.Equal(t, versions, listed, "the README's table of dependencies beside go.mod")

	out, err := exec.Command("go", "env", "GOMODCACHE").Output()
	require.NoError(t, err)
	for _, row := range rows {
		for name := range strings.SplitSeq(strings.TrimSpace(row[3]), ", ") {
			said := saidBy[name]
			if !assert.NotNil(t, said, "%s: %q is no licence that the test knows", row[1], name) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), filepath.FromSlash(row[1])+"@"+row[2], "LICENSE"))
			if os.IsNotExist(err) {
				continue // not needed for what was built here
			}
			require.NoError(t, err)
			assert.Regexp(t, said, string(text), "the README calls the licence of %s %s", row[1], name)
			if name == "BSD 2-Clause" {
				assert.NotRegexp(t, saidBy["BSD 3-Clause"], string(text), "the licence of %s has the third clause", row[1])
			}
		}
	}
}

// What a program links that uses the library, page included, is what the README lists, without what tests alone need.
func TestAProgramLinksTheModulesThatTheREADMEListsAndNoMore(t *testing.T) {
	const own = "github.com/tiercache/tiercache"
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+\\.[^`]+/[^`]+)` \\| v\\S+ \\| [^|]+ \\| ([^|]+) \\|").FindAllStringSubmatch(read(t, "README.md"), -1) {
		if !strings.HasPrefix(row[2], "tests alone") {
			listed = append(listed, row[1])
		}
	}
	require.NotEmpty(t, listed)
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}",
		own+"/tier", own+"/tier/tierdebug", own+"/local", own+"/remote", own+"/invalidation")
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOOS=linux", "GOARCH=amd64") // others need fewer
	out, err := cmd.Output()
	require.NoError(t, err)
	linked := strings.Fields(string(out))
	slices.Sort(linked)
	linked = slices.DeleteFunc(slices.Compact(linked), func(path string) bool { return path == own })
	slices.Sort(listed)
	assert.Equal(t, listed, linked)
}
