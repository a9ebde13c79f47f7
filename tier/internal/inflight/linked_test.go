package inflight

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiercache/tiercache/internal/changelog"
	"github.com/tiercache/tiercache/internal/mono"
	"github.com/tiercache/tiercache/local"
	"github.com/tiercache/tiercache/tier/internal/record"
)

// What stands beside an entry of another version is kept only if nothing was told of the key between the read of that and
// its own, however it is put into the local tier:
//
//	A: reads the entry of version 2, with the link to what stands beside it
//	B: sets the key, which ends both
//	A: reads what stood beside it, late, or stores what it has loaded for its place
func TestI2WhatStandsBesideAnEntryThatWasChangedIsNotKept(t *testing.T) {
	l, err := local.New(local.Config[record.Item]{MaxEntries: 10})
	require.NoError(t, err)
	k := record.NewKind[string](nil)
	for name, keep := range map[string]func(table *Table, f *Call, it *record.Item) bool{
		"read": func(table *Table, f *Call, it *record.Item) bool { return table.InsertIfUnchanged(f.H, &f.Watch, it) },
		"loaded": func(table *Table, f *Call, it *record.Item) bool {
			table.InsertProvisional(f.H, &f.Watch, it)
			return f.Watch.hasProvisional
		},
		"stored": func(table *Table, f *Call, it *record.Item) bool { return table.CommitProvisional(f.H, &f.Watch, it) },
	} {
		for _, changed := range []bool{false, true} {
			table := NewTable(l)
			f, leads, _ := table.Join(nil, local.Key{Lo: 1}, "k", true)
			require.True(t, leads)
			v := &changelog.View{}
			table.Restart(f, v, mono.Now()) // the entry is read
			table.GoBeside(f, "beside", 1, 0)
			if changed {
				table.ApplyInvalidation(f.H)
			}
			table.Restart(f, v, mono.Now()) // what stands beside it is read
			it := record.NewItemOf(k, "v")
			require.Equal(t, !changed, keep(table, f, it), name)
			require.Equal(t, !changed, l.PeekEntry(f.H) != nil, name)
			l.Remove(f.H)
		}
	}
}
