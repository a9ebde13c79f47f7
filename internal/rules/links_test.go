package rules

import (
	"encoding/xml"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	fenced    = regexp.MustCompile("(?ms)^```.*?^```[ \t]*$")
	inCode    = regexp.MustCompile("`[^`\n]*`")
	linked    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	title     = regexp.MustCompile(`(?m)^#{1,6} +(.*?) *$`)
	linkText  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	pageNamed = regexp.MustCompile(`\b((?:docs|bench)/[A-Za-z0-9_/-]+\.md)\b`)
)

// files returns the names of the repository's files with that ending, but for those in folders
// that begin with a dot.
func files(t *testing.T, ending string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && name != root:
			return fs.SkipDir
		case !d.IsDir() && strings.HasSuffix(name, ending):
			names = append(names, strings.TrimPrefix(filepath.ToSlash(name), root+"/"))
		}
		return nil
	}))
	require.NotEmpty(t, names, "no file ends with %s", ending)
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	require.NoError(t, err)
	return string(b)
}

// anchors returns what links to headings of a page end with, as GitHub makes it.
func anchors(page string) map[string]bool {
	all, seen := make(map[string]bool), make(map[string]int)
	for _, m := range title.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		text := strings.ToLower(linkText.ReplaceAllString(m[1], "$1"))
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return r
			}
			return -1
		}, text)
		n := seen[anchor]
		seen[anchor]++
		if n > 0 {
			anchor += "-" + strconv.Itoa(n)
		}
		all[anchor] = true
	}
	return all
}

// broken says what is wrong with a link on a page, or nothing.
func broken(t *testing.T, page, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	switch {
	case err != nil:
		return err.Error()
	case u.Scheme != "" || u.Host != "":
		return "" // not ours
	}
	name := page
	if u.Path != "" {
		name = path.Join(path.Dir(page), u.Path)
	}
	if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(name))); err != nil {
		return "there is no " + name
	}
	if u.Fragment != "" && strings.HasSuffix(name, ".md") && !anchors(read(t, name))[u.Fragment] {
		return fmt.Sprintf("%s has no heading %q", name, u.Fragment)
	}
	return ""
}

func TestEveryLinkOfAPageLeadsSomewhere(t *testing.T) {
	links := 0
	for _, page := range files(t, ".md") {
		text := inCode.ReplaceAllString(fenced.ReplaceAllString(read(t, page), ""), "")
		for _, m := range linked.FindAllStringSubmatch(text, -1) {
			links++
			if what := broken(t, page, m[1]); what != "" {
				t.Errorf("%s links to %s: %s", page, m[1], what)
			}
		}
	}
	require.Greater(t, links, 50)
}

func TestABrokenLinkIsSeen(t *testing.T) {
	assert.Empty(t, broken(t, "docs/rules.md", "architecture.md#a-change"))
	assert.Empty(t, broken(t, "docs/rules.md", "#r7-lost-history"))
	assert.Empty(t, broken(t, "docs/rules.md", "../README.md"))
	assert.Empty(t, broken(t, "docs/rules.md", "https://example.com/none"))
	assert.NotEmpty(t, broken(t, "docs/rules.md", "none.md"))
	assert.NotEmpty(t, broken(t, "docs/rules.md", "architecture.md#none"))
	assert.Equal(t, map[string]bool{"a": true, "a-1": true, "fault--invariant": true, "when-valkey": true},
		anchors("# A\n## a\n```\n# not one\n```\n### Fault × [invariant](x.md)\n# When `Valkey`…\n"))
}

func TestEveryPageThatCodeNamesExists(t *testing.T) {
	for name, source := range sources(t) {
		for _, m := range pageNamed.FindAllStringSubmatch(source, -1) {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s names %s, which is not there", name, m[1])
			}
		}
	}
}

func TestTheIndexOfDecisionsHasThemAll(t *testing.T) {
	index, number := read(t, "docs/adr/README.md"), regexp.MustCompile(`^docs/adr/(\d{4})-[a-z0-9-]+\.md$`)
	taken := make(map[string]string)
	for _, name := range files(t, ".md") {
		if path.Dir(name) != "docs/adr" || path.Base(name) == "README.md" {
			continue
		}
		m := number.FindStringSubmatch(name)
		require.NotNil(t, m, "%s is not named NNNN-in-a-few-words.md", name)
		assert.Empty(t, taken[m[1]], "%s has the number of another", name)
		taken[m[1]] = name
		assert.Contains(t, index, path.Base(name), "docs/adr/README.md does not list %s", name)
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(read(t, name), fmt.Sprintf("# %d. ", n)), "%s begins otherwise", name)
	}
	require.NotEmpty(t, taken)
}

// A picture is read by browsers, which show nothing of a file that is not well-formed.
func TestPicturesAreWellFormedAndTheirTextIsLegible(t *testing.T) {
	size := regexp.MustCompile(`font-size: *(\d+)`)
	for _, name := range files(t, ".svg") {
		text := read(t, name)
		d := xml.NewDecoder(strings.NewReader(text))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, name)
		}
		if path.Dir(name) != "docs/images" {
			continue
		}
		assert.Contains(t, text, "prefers-color-scheme: dark", "%s has no colours for the dark", name)
		sizes := size.FindAllStringSubmatch(text, -1)
		require.NotEmpty(t, sizes, name)
		for _, m := range sizes {
			n, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			assert.GreaterOrEqual(t, n, 12, "%s has text that is too small", name)
		}
	}
}

func TestThePageOfTheArchitectureNamesEachPackageOfTierOnce(t *testing.T) {
	row, name := regexp.MustCompile("(?m)^ *\\| `tier/internal/[^|]+\\|"), regexp.MustCompile("`(?:tier/internal/)?([a-z]+)`")
	var listed, there []string
	for _, first := range row.FindAllString(read(t, "docs/architecture.md"), -1) {
		for _, m := range name.FindAllStringSubmatch(first, -1) {
			listed = append(listed, m[1])
		}
	}
	folders, err := os.ReadDir(filepath.Join(root, "tier", "internal"))
	require.NoError(t, err)
	for _, folder := range folders {
		there = append(there, folder.Name())
	}
	assert.ElementsMatch(t, there, listed, "the table of packages beside tier/internal")
}

func TestThePictureOfThePackagesHasTheImportsThatThereAre(t *testing.T) {
	packages := []string{"tier", "remote", "invalidation", "local"}
	drawn := regexp.MustCompile(`id="(`+strings.Join(packages, "|")+`)-(`+strings.Join(packages, "|")+`)"`).
		FindAllStringSubmatch(read(t, "docs/images/packages.svg"), -1)
	var inPicture, inCode []string
	for _, m := range drawn {
		inPicture = append(inPicture, m[1]+" -> "+m[2])
	}
	for name, source := range sources(t) {
		from, _, _ := strings.Cut(name, "/")
		if !slices.Contains(packages, from) || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), "", source, parser.ImportsOnly)
		require.NoError(t, err)
		for _, i := range file.Imports {
			to, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), "github.com/tiercache/tiercache/")
			to, _, _ = strings.Cut(to, "/")
			if ok && to != from && slices.Contains(packages, to) {
				inCode = append(inCode, from+" -> "+to)
			}
		}
	}
	slices.Sort(inPicture)
	slices.Sort(inCode)
	assert.Equal(t, slices.Compact(inCode), inPicture)
}
