package remotetest

import (
	"context"
	"fmt"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/backend"
)

// left returns the keys under prefix, sorted.
func (h Harness) left(prefix string) []string {
	keys := h.Keys(prefix)
	sort.Strings(keys)
	return keys
}

var purges = []test{
	{"APurgeRemovesWhatBeginsWithItsPrefixesAndNothingElse", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		for _, glob := range []string{"a*b", "a[b]", "a?b", `a\b`, `a\*b`, "[a-z]", "a[^b]", "{x}", "plain", "a b\n\x00\xff"} {
			h.Flush()
			in := []string{glob, glob + ":", glob + "*", glob + "{k}", glob + "{k}!"}
			out := []string{"aXb:", "ab:", "a:", "b:", "aXXb:", "m:", `a\Xb:`, "x", "plai", "A B", "a*", "a["}
			var keep []string
			for _, k := range in {
				h.Put(s.prefix+k, "v")
			}
			for _, k := range out {
				h.Put(s.prefix+k, "v")
				keep = append(keep, s.prefix+k)
			}
			sort.Strings(keep)
			done, err := s.Purge(s.ctx, backend.PurgeRequest{Prefixes: []string{s.prefix + glob}})
			require.NoError(t, err)
			require.EqualValues(t, len(in), done.Removed, glob)
			require.Empty(t, done.Resume)
			require.Equal(t, keep, h.left(s.prefix), glob)
		}
	}},

	{"APurgeOfSeveralPrefixesIsToldAndNoticed", func(t *testing.T, h Harness) {
		h.Flush()
		s := h.open(t, prefix())
		const n = 3000
		for i := range n {
			h.Put(fmt.Sprintf("%s:d:a:%d", s.prefix, i), "v")
		}
		h.Put(s.prefix+":d:b:x", "v")
		h.Put(s.prefix+":d:c:x", "v")
		s.get(t, s.prefix+":d:b:x")
		var told []backend.PurgeProgress
		done, err := s.Purge(s.ctx, backend.PurgeRequest{
			Prefixes: []string{s.prefix + ":d:a:", s.prefix + ":d:none:", s.prefix + ":d:b:"},
			Progress: func(p backend.PurgeProgress) { told = append(told, p) },
		})
		require.NoError(t, err)
		require.EqualValues(t, n+1, done.Removed)
		require.GreaterOrEqual(t, done.Scanned, done.Removed)
		require.Equal(t, []string{s.prefix + ":d:c:x"}, h.left(s.prefix))
		require.NotEmpty(t, told)
		require.Equal(t, done, told[len(told)-1], "the last progress is the result")
		for i := 1; i < len(told); i++ {
			require.GreaterOrEqual(t, told[i].Removed, told[i-1].Removed)
			require.GreaterOrEqual(t, told[i].Scanned, told[i-1].Scanned)
		}
		s.hears(t, 1, s.prefix+":d:b:x")
	}},

	{"APurgeThatWasCancelledGoesOnWhereItStopped", func(t *testing.T, h Harness) {
		h.Flush()
		s := h.open(t, prefix())
		const n = 6000
		for i := range n {
			h.Put(fmt.Sprintf("%s:d:a:%d", s.prefix, i), "v")
			if i < 100 {
				h.Put(fmt.Sprintf("%s:d:b:%d", s.prefix, i), "v")
			}
		}
		req := backend.PurgeRequest{Prefixes: []string{s.prefix + ":d:a:", s.prefix + ":d:b:"}}
		var removed int64
		for stops := 0; ; stops++ {
			ctx, cancel := context.WithCancel(s.ctx)
			req.Progress = func(backend.PurgeProgress) { cancel() }
			done, err := s.Purge(ctx, req)
			cancel()
			removed += done.Removed
			if err == nil {
				require.Empty(t, done.Resume)
				break
			}
			require.ErrorIs(t, err, context.Canceled)
			require.NotEmpty(t, done.Resume)
			require.NotEqual(t, req.Resume, done.Resume, "each attempt gets further")
			req.Resume = done.Resume
			require.Less(t, stops, 100)
		}
		require.EqualValues(t, n+100, removed)
		require.Empty(t, h.left(s.prefix))
	}},

	{"APurgeIsNotBegunWithACancelledContext", func(t *testing.T, h Harness) {
		h.Flush()
		s := h.open(t, prefix())
		h.Put(s.prefix+":d:a:x", "v")
		ctx, cancel := context.WithCancel(s.ctx)
		cancel()
		_, err := s.Purge(ctx, backend.PurgeRequest{Prefixes: []string{s.prefix + ":d:"}})
		require.ErrorIs(t, err, context.Canceled)
		require.Len(t, h.left(s.prefix), 1)
	}},

	{"APositionThatNoPurgeReportedIsRefused", func(t *testing.T, h Harness) {
		s := h.open(t, prefix())
		for _, bad := range []string{"x", "0", ":", "0:", ":0", "-1:0", "1:0", "0:-1", "0:x", "99999999999999999999:0", "0:99999999999999999999"} {
			_, err := s.Purge(s.ctx, backend.PurgeRequest{Prefixes: []string{s.prefix}, Resume: bad})
			require.ErrorContains(t, err, "resume", bad)
		}
	}},
}
