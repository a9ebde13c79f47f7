package tierotel_test

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/valkeytest"
)

// A module that knows nothing of this repository's workspace gets each module at its tag, and builds and runs with it. What
// does not use tierotel links nothing of OpenTelemetry.
func TestAStrangersModuleGetsEachModuleAtItsTag(t *testing.T) {
	valkeytest.Extra(t, "git")
	const version = "v0.1.0"
	proxy, home := t.TempDir(), t.TempDir()
	for path, dir := range map[string]string{"": "", "/tier/tierotel": "tier/tierotel", "/tier/codec/protobuf": "tier/codec/protobuf"} {
		publish(t, proxy, "github.com/tiercache/tiercache"+path, version, dir)
	}
	modcache, err := exec.Command("go", "env", "GOMODCACHE").Output()
	require.NoError(t, err)
	cache := filepath.Join(home, "mod") // not the user's, which would keep these versions
	env := append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOSUMDB=off", "GOMODCACHE="+cache,
		"GOPROXY=file://"+proxy+",file://"+strings.TrimSpace(string(modcache))+"/cache/download,https://proxy.golang.org")
	run := func(dir string, args ...string) string {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "go %v: %s", args, out)
		return string(out)
	}
	defer run(home, "clean", "-modcache") // its files are read-only
	program := func(imports, body string) (dir string) {
		dir = t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/stranger\n\ngo 1.25.0\n"), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nimport (\n"+imports+")\n\nfunc main() {\n"+body+"}\n"), 0o600))
		run(dir, "mod", "tidy")
		return dir
	}
	const tier = "\t\"context\"\n\t\"github.com/tiercache/tiercache/tier\"\n"
	dir := program(tier+"\t\"fmt\"\n\t\"github.com/tiercache/tiercache/tier/tierotel\"\n\t\"github.com/tiercache/tiercache/tier/codec/protobuf\"\n",
		"\ts, err := tierotel.Open(context.Background(), tier.WithPrefix(\"p\"))\n\tfmt.Println(s != nil, err)\n\t_ = protobuf.Codec{}\n")
	assert.Contains(t, run(dir, "run", "."), "true <nil>")
	mod := read(t, filepath.Join(dir, "go.mod"))
	for _, path := range []string{"", "/tier/tierotel", "/tier/codec/protobuf"} {
		assert.Contains(t, mod, "github.com/tiercache/tiercache"+path+" "+version)
	}

	dir = program(tier, "\t_, _ = tier.Open(context.Background())\n")
	deps := run(dir, "list", "-deps", ".")
	assert.NotContains(t, deps, "opentelemetry")
	assert.NotContains(t, deps, "protobuf")
}

// publish puts a module of this repository, as git has it with the changes of the working tree, into a file proxy.
func publish(t *testing.T, proxy, module, version, dir string) {
	const root = "../.."
	out, err := exec.Command("git", "-C", root, "ls-files", "-co", "--exclude-standard", "--", filepath.Join(".", dir)).Output()
	require.NoError(t, err)
	files := strings.Fields(string(out))
	var nested []string
	for _, f := range files {
		if at := filepath.Dir(f); filepath.Base(f) == "go.mod" && at != filepath.Join(".", dir) {
			nested = append(nested, at+"/")
		}
	}
	at := filepath.Join(proxy, module, "@v")
	require.NoError(t, os.MkdirAll(at, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(at, "list"), []byte(version+"\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(at, version+".info"), fmt.Appendf(nil, `{"Version":%q}`, version), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(at, version+".mod"), []byte(read(t, filepath.Join(root, dir, "go.mod"))), 0o600))
	archive, err := os.Create(filepath.Join(at, version+".zip"))
	require.NoError(t, err)
	defer archive.Close()
	z := zip.NewWriter(archive)
	for _, f := range files {
		if slices.ContainsFunc(nested, func(n string) bool { return strings.HasPrefix(f, n) }) {
			continue
		}
		info, err := os.Lstat(filepath.Join(root, f))
		if err != nil || !info.Mode().IsRegular() {
			continue // deleted in the working tree
		}
		to, err := z.Create(module + "@" + version + "/" + strings.TrimPrefix(strings.TrimPrefix(f, dir), "/"))
		require.NoError(t, err)
		from, err := os.Open(filepath.Join(root, f))
		require.NoError(t, err)
		_, err = io.Copy(to, from)
		require.NoError(t, err)
		require.NoError(t, from.Close())
	}
	require.NoError(t, z.Close())
}
