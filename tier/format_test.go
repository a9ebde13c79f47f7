package tier_test

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/zeebo/xxh3"

	"github.com/tiercache/tiercache/internal/envelope"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier"
)

// release is what another release of the library would have stored in place of
// an entry of today.
type release struct {
	of    func(t *testing.T, raw string) string
	reads bool // this one reads it
}

var releases = map[string]release{
	"version 1": {of: asVersion1},
	"version 3": {of: func(_ *testing.T, raw string) string { return resealed(with(raw, versionAt, 3)) }},
	"version 3, all of it different behind the head": {of: func(_ *testing.T, raw string) string {
		return resealed(with(raw, versionAt, 3))[:envelope.HeadLen] + strings.Repeat("\xff", 100)
	}},
	"a flag that is not known":            {of: func(_ *testing.T, raw string) string { return resealed(with(raw, flagsAt, 1<<2)) }},
	"a field that has to be understood":   {of: func(t *testing.T, raw string) string { return withField(t, raw, 0x80|9, "key 7") }},
	"a field that may be skipped":         {of: func(t *testing.T, raw string) string { return withField(t, raw, 9, "news") }, reads: true},
	"a validator, and how long it loaded": {of: withEveryField, reads: true},
}

func with(raw string, at int, b byte) string { return raw[:at] + string(b) + raw[at+1:] }

// withField puts an optional field into an entry that has none.
func withField(t *testing.T, raw string, tag byte, value string) string {
	b := []byte(raw)
	_, n := binary.Uvarint(b[envelope.HeadLen:])
	_, m := binary.Uvarint(b[envelope.HeadLen+n:])
	at := envelope.HeadLen + n + m
	require.Zero(t, b[at], "the number of fields")
	return resealed(raw[:at] + string([]byte{1, tag, byte(len(value))}) + value + raw[at+1:])
}

func withEveryField(t *testing.T, raw string) string {
	e, err := envelope.Decode(raw)
	require.NoError(t, err)
	e.Cost, e.Validator, e.LoadTook = 100, `"etag"`, time.Second
	b, err := envelope.Encode(&e, 0)
	require.NoError(t, err)
	return string(b)
}

// asVersion1 is how the release before stored what is in raw.
func asVersion1(t *testing.T, raw string) string {
	e, err := envelope.Decode(raw)
	require.NoError(t, err)
	text := func(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	b := append([]byte(raw[stampLen:versionAt]), 1, raw[flagsAt])
	b = append(b, raw[incarnationAt:checkAt]...)
	b = binary.AppendUvarint(b, uint64(e.Fresh.Milliseconds()))
	b = binary.AppendUvarint(b, uint64(e.Life.Milliseconds()))
	b = text(text(b, e.Namespace), e.Key)
	b = binary.AppendUvarint(b, uint64(len(e.Sources)))
	for _, s := range e.Sources {
		b = text(b, s)
	}
	b = append(b, e.Payload...)
	return raw[:stampLen] + string(binary.BigEndian.AppendUint64(b, xxh3.Hash(b)))
}

// Two releases use one remote tier: during a deployment, and when it is rolled
// back. What the other one wrote is read, or is a miss that says why; never an
// error, damage, or an older value.
func TestTwoReleasesShareARemoteTier(t *testing.T) {
	for name, other := range releases {
		t.Run(name, func(t *testing.T) {
			onEachRemote(t, func(t *testing.T, f *fleet) {
				var seen events
				sa, sb := f.process(), f.process(tier.WithObserver(seen.observe))
				// a writes for the other release: what it stores is replaced.
				a, b := view[string](t, sa, "docs"), view[string](t, sb, "docs", tier.WithStaleOnError(time.Hour))
				key := explain(t, a, "k").RemoteKey
				otherSets := func(value string) {
					require.NoError(t, a.Set(t.Context(), "k", value, tier.WithSources("doc")))
					f.put(key, other.of(t, f.read(key)))
					f.sync()
				}
				var loads, misses int64
				get := func(origin string, o ...tier.CallOption) {
					t.Helper()
					want, from := "stored", tier.Remote
					if !other.reads {
						want, from = origin, tier.Loaded
						loads++
						misses++
					}
					r := find(t, b, "k", is(origin, "doc"), o...)
					require.Equal(t, []any{want, from}, []any{r.Value, r.Origin})
					filled(t, sb, loads)
					require.Equal(t, misses, sb.Stats().RemoteMisses[tier.OtherFormat])
				}

				otherSets("stored")
				e := explain(t, b, "k")
				require.Equal(t, other.reads, e.Remote.Valid, e.Remote.Why)
				require.Equal(t, !other.reads, strings.Contains(e.Remote.Why, "format"), e.Remote.Why)
				_, there, err := b.Peek(t.Context(), "k")
				require.NoError(t, err)
				require.Equal(t, other.reads, there)
				if !there {
					misses++ // a Peek counts, too
				}
				get("forward")

				// Rolled back, and forward again: each turn is one load, and the value
				// of before the last write is never seen.
				for range 3 {
					otherSets("stored")
					get("again")
				}
				otherSets("stored")
				many, err := b.GetMany(t.Context(), []string{"k"}, func(context.Context, []string, tier.Entries) (map[string]string, error) {
					loads++
					misses++
					return map[string]string{"k": "many"}, nil
				}, tier.NoLocal())
				require.NoError(t, err)
				require.Equal(t, map[bool]string{true: "stored", false: "many"}[other.reads], many["k"])
				filled(t, sb, loads)

				// Changes of a source cut off what the other one wrote.
				otherSets("older")
				_, err = sa.InvalidateSource(t.Context(), "doc")
				require.NoError(t, err)
				f.sync()
				require.Equal(t, "newer", find(t, b, "k", is("newer", "doc")).Value)
				loads++
				filled(t, sb, loads)

				// Nor is it served when a load fails.
				otherSets("older")
				_, err = sa.InvalidateSource(t.Context(), "doc")
				require.NoError(t, err)
				f.sync()
				_, err = b.Get(t.Context(), "k", func(context.Context, *tier.Entry) (string, error) { return "", errOrigin })
				require.ErrorIs(t, err, errOrigin)

				// Explicit writes replace it.
				for i, write := range []func() error{
					func() error { return b.Set(t.Context(), "k", "set") },
					func() error {
						_, err := b.Refresh(t.Context(), "k", is("set"))
						loads++
						filled(t, sb, loads)
						return err
					},
					func() error {
						if err := b.Delete(t.Context(), "k"); err != nil {
							return err
						}
						return a.Set(t.Context(), "k", "set")
					},
				} {
					otherSets("older")
					require.NoError(t, write())
					f.sync()
					for _, c := range []*tier.Cache[string]{a, b} {
						require.Equal(t, "set", find(t, c, "k", unneeded, tier.Fresh()).Value, "write %d", i)
					}
				}

				require.Zero(t, sb.Stats().RemoteMisses[tier.Damaged])
				require.Empty(t, seen.of(tier.EventBadEntry))
			})
		})
	}
}

// A stated cost counts where the value is read, too; an estimate does not travel.
func TestAStatedCostTravelsWithTheValue(t *testing.T) {
	const stated = 50_000
	value := strings.Repeat("v", 2000)
	onEachRemote(t, func(t *testing.T, f *fleet) {
		sa, sb := f.process(), f.process()
		a := view[string](t, sa, "docs")
		require.NoError(t, a.Set(t.Context(), "set", value, tier.WithCost(stated)))
		find(t, a, "loaded", func(_ context.Context, e *tier.Entry) (string, error) {
			e.SetCost(stated)
			return value, nil
		})
		filled(t, sa, 1)
		require.NoError(t, a.Set(t.Context(), "estimated", value))
		f.sync()
		for _, key := range []string{"set", "loaded", "estimated"} {
			e, err := envelope.Decode(f.read(explain(t, a, key).RemoteKey))
			require.NoError(t, err)
			require.Equal(t, map[bool]int64{true: 0, false: stated}[key == "estimated"], e.Cost, key)
			before := sb.Stats().LocalBytes
			require.Equal(t, tier.Remote, find(t, view[string](t, sb, "docs"), key, unneeded).Origin)
			got := sb.Stats().LocalBytes - before
			if key != "estimated" {
				require.EqualValues(t, stated+local.Overhead, got, key)
			} else {
				require.InDelta(t, len(value), got, 1000)
			}
		}

		// What is stored is hostile.
		name := explain(t, a, "set").RemoteKey
		e, err := envelope.Decode(f.read(name))
		require.NoError(t, err)
		for cost, most := range map[int64]int{1: 1, 1 << 60: 64} {
			e.Cost = cost
			raw, err := envelope.Encode(&e, 0)
			require.NoError(t, err)
			f.put(name, string(raw))
			f.sync()
			s := f.process()
			find(t, view[string](t, s, "docs"), "set", unneeded)
			assert.LessOrEqual(t, s.Stats().LocalBytes, int64(most*len(raw)+4<<10)+local.Overhead)
			assert.GreaterOrEqual(t, s.Stats().LocalBytes, int64(len(raw))+local.Overhead)
		}
	})
}
