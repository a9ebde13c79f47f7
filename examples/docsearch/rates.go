package main

import "github.com/tiercache/tiercache/tier"

// rates are a replica's reads by what answered them.
type rates struct {
	Reads         int64   `json:"reads"`
	LocalHits     int64   `json:"localHits"`
	LocalHitRate  float64 `json:"localHitRate"` // of all reads
	RemoteHits    int64   `json:"remoteHits"`
	RemoteHitRate float64 `json:"remoteHitRate"` // of the reads that the local tier did not answer
	Shared        int64   `json:"shared"`        // answered by what another reader was getting
	Loads         int64   `json:"loads"`
	LocalEntries  int     `json:"localEntries"`
	LocalBytes    int64   `json:"localBytes"`
	Evictions     int64   `json:"evictions"` // local entries that gave way to others
}

func ratesOf(s tier.Stats) rates {
	return rates{
		Reads:     s.LocalHits + s.RemoteHits + s.Shared + s.Loads,
		LocalHits: s.LocalHits, LocalHitRate: s.LocalHitRate(),
		RemoteHits: s.RemoteHits, RemoteHitRate: s.RemoteHitRate(),
		Shared: s.Shared, Loads: s.Loads,
		LocalEntries: s.LocalEntries, LocalBytes: s.LocalBytes, Evictions: s.LocalEvictions,
	}
}
